// Finds or builds every program before the first scenario.

package e2e

import (
	"fmt"
	"os"
	"testing"
)

// kubernetes is the minor version whose API server the scenarios run: a directory of kube-apiserver/.
func kubernetes() string {
	if minor := os.Getenv("E2E_KUBERNETES"); minor != "" {
		return minor
	}
	return "1.37"
}

func TestMain(m *testing.M) {
	code := 1
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	} else {
		go machine.watch()
		code = m.Run()
	}
	for _, dir := range scratch {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func prepare() error {
	program, err := dekhandBinary()
	if err != nil {
		return err
	}
	if backends[backend()] == nil {
		return fmt.Errorf("E2E_BACKEND is %q: it must be keyring or token", backend())
	}
	if api := kmsAPI(); api != kmsV1 && api != kmsV2 {
		return fmt.Errorf("E2E_KMS is %q: it must be v1 or v2", api)
	}
	fmt.Println("root keys in:", backend())
	fmt.Println("protocol: KMS", kmsAPI())
	fmt.Println("under test:", program)
	for _, server := range []upstream{etcdServer, kubeAPIServer(kubernetes())} {
		done, err := server.build()
		if err != nil {
			return err
		}
		if done.took > 0 {
			fmt.Printf("measured: %s %s built in %.0f s\n", server.dir, done.version, done.took.Seconds())
		} else {
			fmt.Printf("%s %s from %s\n", server.dir, done.version, done.path)
		}
	}
	return nil
}
