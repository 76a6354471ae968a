// Builds the upstream servers from their published modules, once per content of their module files.

package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// upstream is a server whose wrapper module lies in a directory of this suite.
type upstream struct {
	dir    string // of the wrapper module
	module string // whose version is the server's
	tags   string
	// linkAs makes the linker's settings from the version.
	linkAs func(version string) string
}

var etcdServer = upstream{
	dir:    "etcd",
	module: "go.etcd.io/etcd/server/v3",
	linkAs: func(string) string { return "" },
}

// kubeAPIServer is the API server of a minor version that has a directory, such as 1.37.
func kubeAPIServer(minor string) upstream {
	return upstream{
		dir:    filepath.Join("kube-apiserver", minor),
		module: "k8s.io/kubernetes",
		// Without this tag old versions import cloud providers whose modules are gone.
		tags: "providerless",
		linkAs: func(version string) string {
			// Unset, the version is v0.0.0 and the server refuses its own feature gates.
			major, rest, _ := strings.Cut(minor, ".")
			at := " -X k8s.io/component-base/version."
			return at + "gitVersion=" + version + at + "gitMajor=" + major + at + "gitMinor=" + rest
		},
	}
}

// built is a finished server program.
type built struct {
	path    string
	version string
	took    time.Duration // zero when it came from the cache
}

var (
	builds     = map[string]built{}
	buildsLock sync.Mutex
)

// build gives the server's program, from this run, from the cache, or from a fresh build.
func (u upstream) build() (built, error) {
	buildsLock.Lock()
	defer buildsLock.Unlock()
	if done, ok := builds[u.dir]; ok {
		return done, nil
	}
	version, err := u.version()
	if err != nil {
		return built{}, err
	}
	flags := []string{"build", "-buildvcs=false", "-trimpath", "-tags", u.tags,
		// Without inlining and debug information the compiler needs two thirds of the time. The standard library stays as
		// it is: other builds share it, and the servers spend much of their time there.
		"-gcflags", "all=-l -dwarf=false", "-gcflags", "std=",
		"-ldflags", "-s -w" + u.linkAs(version)}
	cached, err := u.cachePath(version, flags)
	if err != nil {
		return built{}, err
	}
	result := built{path: cached, version: version}
	if _, err := os.Stat(cached); err != nil {
		if result.took, err = u.compile(cached, version, flags); err != nil {
			return built{}, err
		}
	}
	builds[u.dir] = result
	return result, nil
}

// compile puts the program in its place, unless another run does so first: one run compiles at a time.
func (u upstream) compile(cached, version string, flags []string) (took time.Duration, err error) {
	unlock, err := lock(filepath.Join(filepath.Dir(cached), "compiling"))
	if err != nil {
		return 0, err
	}
	defer unlock()
	if _, err := os.Stat(cached); err == nil {
		return 0, nil
	}
	fmt.Printf("building %s %s (minutes when nothing is cached)\n", u.dir, version)
	begin := time.Now()
	beside := fmt.Sprintf("%s.%d", cached, os.Getpid())
	command := exec.Command("go", append(flags, "-o", beside, ".")...)
	command.Dir = u.dir
	command.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building %s: %w\n%s", u.dir, err, out)
	}
	return time.Since(begin), os.Rename(beside, cached)
}

// lock waits until no other process holds the lock file, and takes it; it ends with this process at the latest.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock file of the builds: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { _ = file.Close() }, nil
}

// version reads the server's version from the wrapper's go.mod, its only place.
func (u upstream) version() (string, error) {
	text, err := os.ReadFile(filepath.Join(u.dir, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("no wrapper module for this server: %w", err)
	}
	found := regexp.MustCompile(`(?m)\s` + regexp.QuoteMeta(u.module) + ` (v\S+)`).FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("%s/go.mod does not require %s", u.dir, u.module)
	}
	return string(found[1]), nil
}

// cachePath is where the program belongs: its name holds a hash of all that goes into it.
func (u upstream) cachePath(version string, flags []string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		text, err := os.ReadFile(filepath.Join(u.dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
	}
	compiler, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for its version: %w", err)
	}
	fmt.Fprintf(sum, "%s %q", compiler, flags)
	name := filepath.Base(strings.Split(u.dir, string(filepath.Separator))[0])
	return filepath.Join(cacheDir(), fmt.Sprintf("%s-%s-%x", name, version, sum.Sum(nil)[:8])), nil
}

// cacheDir lasts between runs where that is possible; a run without it only takes longer.
var cacheDir = sync.OnceValue(func() string {
	if base, err := os.UserCacheDir(); err == nil { // $XDG_CACHE_HOME, else ~/.cache
		dir := filepath.Join(base, "dekhand-e2e")
		if err := os.MkdirAll(dir, 0o755); err == nil && writable(dir) {
			return dir
		}
	}
	dir, err := os.MkdirTemp("", "dekhand-e2e-servers-")
	if err != nil {
		panic(err)
	}
	scratch = append(scratch, dir)
	return dir
})

// scratch is removed when the run ends.
var scratch []string

func writable(dir string) bool {
	file, err := os.CreateTemp(dir, "probe-")
	if err != nil {
		return false
	}
	_ = file.Close()
	return os.Remove(file.Name()) == nil
}
