// Runs a kube-apiserver and speaks to it.

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// APIServer is one kube-apiserver; its port and socket stay the same across restarts.
type APIServer struct {
	t       testing.TB
	dir     string
	name    string
	port    int
	program built
	args    []string
	// providers are those of its next start.
	providers []provider
	client    *http.Client
	// requests counts what the scenario asked for Secrets, through any API server of the cluster.
	requests *Tally
	process  *Process
	started  time.Time
}

// addAPIServer prepares an API server whose Secrets go through the KMS endpoint.
func (c *Cluster) addAPIServer(endpoint string) *APIServer {
	c.t.Helper()
	program, err := kubeAPIServer(kubernetes()).build()
	if err != nil {
		c.t.Fatal(err)
	}
	a := &APIServer{
		t: c.t, dir: c.dir, program: program, port: reservePort(c.t), requests: &c.requests,
		name: fmt.Sprintf("kube-apiserver-%d", len(c.servers)+1),
		client: &http.Client{
			Timeout:   20 * time.Second,
			Transport: &http.Transport{TLSClientConfig: c.certificates.admin, MaxIdleConnsPerHost: 32},
		},
	}
	a.configure(provider{kmsAPI(), providerName, endpoint})
	a.args = []string{
		"--etcd-servers=" + c.etcd.url,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", a.port),
		"--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/24",
		"--tls-cert-file=" + c.certificates.certFile, "--tls-private-key-file=" + c.certificates.keyFile,
		"--client-ca-file=" + c.certificates.caFile,
		"--authorization-mode=AlwaysAllow", "--anonymous-auth=false",
		"--service-account-issuer=https://dekhand.test",
		"--service-account-signing-key-file=" + c.certificates.keyFile,
		"--service-account-key-file=" + c.certificates.keyFile,
		"--encryption-provider-config=" + a.encryptionFile(),
	}
	c.servers = append(c.servers, a)
	return a
}

// Start starts the process and does not wait for anything.
func (a *APIServer) Start() {
	a.t.Helper()
	a.started = time.Now()
	a.process = startProcess(a.t, a.dir, a.name, a.program.path,
		append(a.featureGates(), a.args...)...)
}

// Restart ends the process and starts a new one, which knows no data key; it gives the time to ready.
func (a *APIServer) Restart() time.Duration {
	a.t.Helper()
	a.process.Stop()
	a.Start()
	return a.waitReady()
}

// waitReady gives the time from the start to the first good /readyz.
func (a *APIServer) waitReady() time.Duration {
	a.t.Helper()
	eventually(a.t, 2*time.Minute, a.name+" is ready", func() error {
		if !a.process.Running() {
			a.t.Fatalf("%s ended", a.name)
		}
		return a.send(http.MethodGet, "/readyz", nil, nil)
	})
	return time.Since(a.started)
}

// kmsHealth asks for the KMS health checks, which brings the next poll of the daemon forward.
func (a *APIServer) kmsHealth() error {
	for _, name := range a.healthChecks() {
		if err := a.send(http.MethodGet, "/healthz/"+name, nil, nil); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// rejection is an answer of the API server other than success.
type rejection struct {
	status int
	reason string
}

func (r rejection) Error() string { return fmt.Sprintf("HTTP %d: %s", r.status, r.reason) }

// rejected takes the reason out of a Status object; health checks answer in plain text.
func rejected(status int, text []byte) rejection {
	var object struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(text, &object); err != nil || object.Message == "" {
		object.Message = string(bytes.TrimSpace(text[:min(len(text), 400)]))
	}
	return rejection{status, object.Message}
}

// send makes one request; `into` may be nil.
func (a *APIServer) send(method, path string, body, into any) error {
	if !strings.HasPrefix(path, secretsPath) {
		return a.exchange(method, path, body, into)
	}
	view, began := spell{tally: a.requests}, time.Now()
	err := a.exchange(method, path, body, into)
	view.note(began, err)
	return err
}

func (a *APIServer) exchange(method, path string, body, into any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, fmt.Sprintf("https://127.0.0.1:%d%s", a.port, path), content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return rejected(response.StatusCode, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}
