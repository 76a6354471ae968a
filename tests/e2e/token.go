// A root key in a SoftHSM token: a directory, which can be copied, and taken away.

package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// tokenPIN is the PIN of all tokens of this run: a copied token keeps its PIN.
var tokenPIN = canary()[:12]

// softHSMModule finds the module where tests/token_shim looks for it.
func softHSMModule() (string, error) {
	places := []string{
		os.Getenv("DEKHAND_SHIM_MODULE"), // another one than the distribution's
		"/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so",
		"/usr/lib64/softhsm/libsofthsm2.so",
		"/usr/local/lib/softhsm/libsofthsm2.so",
	}
	for _, path := range places {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("SoftHSM is missing: none of %q (Debian: apt-get install softhsm2)", places[1:])
}

// Token is a root key in a SoftHSM token, with the configuration and the PIN file that its nodes use.
type Token struct {
	t       testing.TB
	dir     string
	rootKey string
	shared  bool
	module  string
}

// newToken initialises an empty token, whose label is the root key's name.
func newToken(t testing.TB, dir, rootKey string, shared bool) Token {
	t.Helper()
	module, err := softHSMModule()
	if err != nil {
		t.Fatal(err)
	}
	k := Token{t: t, dir: dir, rootKey: rootKey, shared: shared, module: module}
	if err := os.MkdirAll(k.objects(), 0o700); err != nil {
		t.Fatal(err)
	}
	settings := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
		k.objects())
	for path, text := range map[string]string{k.settings(): settings, k.pin(): tokenPIN + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	initialise := exec.Command("softhsm2-util", "--init-token", "--free", "--label", rootKey,
		"--pin", tokenPIN, "--so-pin", canary()[:12])
	initialise.Env = append(os.Environ(), "SOFTHSM2_CONF="+k.settings())
	if out, err := initialise.CombinedOutput(); err != nil {
		t.Fatalf("initialising a token: %v\n%s", err, out)
	}
	t.Cleanup(k.pinMustNotBeLogged)
	return k
}

func (k Token) settings() string { return filepath.Join(k.dir, "softhsm2.conf") }
func (k Token) pin() string      { return filepath.Join(k.dir, "pin") }
func (k Token) objects() string  { return filepath.Join(k.dir, "tokens") }
func (k Token) away() string     { return filepath.Join(k.dir, "tokens.away") }

func (k Token) entry() string {
	return fmt.Sprintf(`  - name: %s
    shared: %t
    pkcs11:
      module: %q
      token: "pkcs11:token=%s"
      pin: {file: %q}
      environment: ["SOFTHSM2_CONF=%s"]
`, k.rootKey, k.shared, k.module, k.rootKey, k.pin(), k.settings())
}

// takeAway makes the token vanish, with all that is in it, as a cable that is pulled.
func (k Token) takeAway() {
	k.t.Helper()
	if err := os.Rename(k.objects(), k.away()); err != nil {
		k.t.Fatal(err)
	}
}

// bringBack undoes takeAway.
func (k Token) bringBack() {
	k.t.Helper()
	// A module that is initialised meanwhile may have made an empty directory.
	if err := os.RemoveAll(k.objects()); err != nil {
		k.t.Fatal(err)
	}
	if err := os.Rename(k.away(), k.objects()); err != nil {
		k.t.Fatal(err)
	}
}

// copyTo copies objects before the files that announce them: a module looks at the objects anew when the number in
// `generation` has changed.
func (k Token) copyTo(store Store) {
	k.t.Helper()
	to := store.(Token)
	k.removeStrangers(to)
	for _, announcing := range []bool{false, true} {
		k.each(func(path string) {
			if (filepath.Base(path) != "generation") == announcing {
				return
			}
			from, target := filepath.Join(k.objects(), path), filepath.Join(to.objects(), path)
			if same(from, target) {
				return // a lock, above all: nobody may hold the one that was there
			}
			if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
				k.t.Fatal(err)
			}
			copyFile(k.t, from, target)
		})
	}
}

// same says whether two files are there and alike.
func same(one, other string) bool {
	text, err := os.ReadFile(one)
	if err != nil {
		return false
	}
	otherText, err := os.ReadFile(other)
	return err == nil && bytes.Equal(text, otherText)
}

// removeStrangers removes what the copy must not keep beside the original: the token it was initialised with.
func (k Token) removeStrangers(to Token) {
	k.t.Helper()
	entries, err := os.ReadDir(to.objects())
	if err != nil {
		k.t.Fatal(err)
	}
	for _, entry := range entries {
		if _, err := os.Stat(filepath.Join(k.objects(), entry.Name())); err == nil {
			continue
		}
		if err := os.RemoveAll(filepath.Join(to.objects(), entry.Name())); err != nil {
			k.t.Fatal(err)
		}
	}
}

// each visits every file of the token, by its path below the token directory.
func (k Token) each(visit func(path string)) {
	k.t.Helper()
	err := filepath.WalkDir(k.objects(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		below, err := filepath.Rel(k.objects(), path)
		if err == nil {
			visit(below)
		}
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

// pinMustNotBeLogged looks through every log of the scenario.
func (k Token) pinMustNotBeLogged() {
	logs, _ := filepath.Glob(filepath.Join(filepath.Dir(k.dir), "*.log"))
	for _, path := range logs {
		if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte(tokenPIN)) {
			k.t.Errorf("the PIN is in %s, or it can't be read: %v", path, err)
		}
	}
}
