// What a kube-apiserver is told of its KMS providers, and which protocol a run uses.

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// providerName is the name of dekhand in the EncryptionConfiguration of most scenarios.
const providerName = "dekhand"

// The two protocols, as an EncryptionConfiguration names them.
const (
	kmsV1 = "v1"
	kmsV2 = "v2"
)

// kmsAPI is the protocol with which this run's API servers begin.
func kmsAPI() string {
	if api := os.Getenv("E2E_KMS"); api != "" {
		return api
	}
	return kmsV2
}

// needsKMS leaves a scenario that is about one protocol to the run with it.
func needsKMS(t testing.TB, api string) {
	t.Helper()
	if kmsAPI() != api {
		t.Skip("part of the run with E2E_KMS=" + api)
	}
}

// provider is an entry of an EncryptionConfiguration.
type provider struct {
	api      string
	name     string
	endpoint string
}

func (p provider) entry() string {
	return fmt.Sprintf("      - kms: {apiVersion: %s, name: %s, endpoint: %q, timeout: 3s}\n", p.api, p.name, p.endpoint)
}

// prefix begins every value that was written through the provider.
func (p provider) prefix() string { return kmsPrefix + p.api + ":" + p.name + ":" }

// configure gives the API server, from its next start on, other providers; the first one writes.
func (a *APIServer) configure(providers ...provider) {
	a.t.Helper()
	var text strings.Builder
	text.WriteString(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
`)
	for _, p := range providers {
		text.WriteString(p.entry())
	}
	if err := os.WriteFile(a.encryptionFile(), []byte(text.String()), 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.providers = providers
}

func (a *APIServer) encryptionFile() string { return filepath.Join(a.dir, a.name+"-encryption.yaml") }

func (a *APIServer) usesV1() bool {
	return slices.ContainsFunc(a.providers, func(p provider) bool { return p.api == kmsV1 })
}

// featureGates is what the API server must be told beside its providers: from 1.29 on KMS v1 is behind a gate.
func (a *APIServer) featureGates() []string {
	if a.usesV1() {
		return []string{"--feature-gates=KMSv1=true"}
	}
	return nil
}

// healthChecks are the names of the KMS health checks: one for all of KMS v2, one for each as soon as one is of KMS v1.
func (a *APIServer) healthChecks() []string {
	if !a.usesV1() {
		return []string{"kms-providers"}
	}
	var names []string
	for i := range a.providers {
		names = append(names, fmt.Sprintf("kms-provider-%d", i))
	}
	return names
}
