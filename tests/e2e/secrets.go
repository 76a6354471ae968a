// Creates, replaces, reads and lists Secrets.

package e2e

import (
	"fmt"
	"net/http"
)

const secretsPath = "/api/v1/namespaces/" + namespace + "/secrets"

// secret is the part of a Secret that the scenarios look at.
type secret struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Data map[string][]byte `json:"data"`
}

func newSecret(name, value string) secret {
	s := secret{APIVersion: "v1", Kind: "Secret", Data: map[string][]byte{"value": []byte(value)}}
	s.Metadata.Name = name
	return s
}

func (s secret) value() string { return string(s.Data["value"]) }

// createSecret makes a new Secret.
func (a *APIServer) createSecret(name, value string) error {
	return a.send(http.MethodPost, secretsPath, newSecret(name, value), nil)
}

// replaceSecret overwrites a Secret, which rewrites it in etcd when its content or its key_id changed.
func (a *APIServer) replaceSecret(name, value string) error {
	return a.send(http.MethodPut, secretsPath+"/"+name, newSecret(name, value), nil)
}

// readSecret gives a Secret's value from etcd, never from the watch cache.
func (a *APIServer) readSecret(name string) (string, error) {
	var found secret
	if err := a.send(http.MethodGet, secretsPath+"/"+name, nil, &found); err != nil {
		return "", err
	}
	return found.value(), nil
}

// listSecrets gives the values of all Secrets of the scenario, by name.
func (a *APIServer) listSecrets() (map[string]string, error) {
	var found struct {
		Items []secret `json:"items"`
	}
	if err := a.send(http.MethodGet, secretsPath, nil, &found); err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, item := range found.Items {
		values[item.Metadata.Name] = item.value()
	}
	return values, nil
}

// createSecrets makes Secrets with values of their own, and gives the values by name.
func (a *APIServer) createSecrets(count int) map[string]string {
	a.t.Helper()
	values := map[string]string{}
	for i := range count {
		name := fmt.Sprintf("secret-%03d", i)
		values[name] = canary()
		if err := a.createSecret(name, values[name]); err != nil {
			a.t.Fatalf("creating %s: %v", name, err)
		}
	}
	return values
}

// mustHold reads each Secret and lists them all, and fails on any that is missing or another.
func (a *APIServer) mustHold(want map[string]string) {
	a.t.Helper()
	listed, err := a.listSecrets()
	if err != nil {
		a.t.Fatalf("listing through %s: %v", a.name, err)
	}
	for name, value := range want {
		switch got, err := a.readSecret(name); {
		case err != nil:
			a.t.Errorf("reading %s through %s: %v", name, a.name, err)
		case got != value:
			a.t.Errorf("%s through %s is not what was written", name, a.name)
		case listed[name] != value:
			a.t.Errorf("%s in the list of %s is not what was written", name, a.name)
		}
	}
}

// rewriteAll replaces every Secret by itself, as a storage migration does, and gives their number.
func (a *APIServer) rewriteAll() int {
	a.t.Helper()
	all, err := a.listSecrets()
	if err != nil {
		a.t.Fatal(err)
	}
	for name, value := range all {
		if err := a.replaceSecret(name, value); err != nil {
			a.t.Fatalf("rewriting %s: %v", name, err)
		}
	}
	return len(all)
}
