package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/testimage"
)

const (
	registryVersion    = "v3.1.2"
	registry2Version   = "v2.8.3"
	conformanceVersion = "v0.0.0-20260831232431-97274622c111"
)

var (
	// registryProgram is the CNCF registry, an independent implementation to
	// compare our simulator with.
	registryProgram = outside("ACRPROMOTE_REGISTRY", "github.com/distribution/distribution/v3/cmd/registry", registryVersion)
	// registry2Program is the generation before it, from the module in interop.
	registry2Program = outsideBuild("ACRPROMOTE_REGISTRY2", "registry2", registry2Version, func(folder string) *exec.Cmd {
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", folder+string(filepath.Separator), ".")
		build.Dir = filepath.Join("..", "..", "interop", "registry2")
		build.Env = append(os.Environ(), "GOFLAGS=-mod=readonly")
		return build
	})
	// conformanceProgram is the OCI distribution conformance suite.
	conformanceProgram = outside("ACRPROMOTE_CONFORMANCE", "github.com/opencontainers/distribution-spec/conformance", conformanceVersion)
)

// outside is a third-party program that go install builds.
func outside(variable, source, version string) func(*testing.T) string {
	return outsideBuild(variable, path.Base(source), version, func(folder string) *exec.Cmd {
		install := exec.Command("go", "install", source+"@"+version)
		install.Env = append(os.Environ(), "GOBIN="+folder, "GOFLAGS=")
		return install
	})
}

// outsideBuild is a third-party program. The variable, which build.sh sets, names its
// file. Otherwise the command builds it into a folder, once into the user's cache.
func outsideBuild(variable, name, version string, build func(folder string) *exec.Cmd) func(*testing.T) string {
	once := sync.OnceValues(func() (string, error) {
		if file := os.Getenv(variable); file != "" {
			return file, nil
		}
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		folder := filepath.Join(cache, "acrpromote-test", name+"-"+version)
		executable := name
		if runtime.GOOS == "windows" {
			executable += ".exe"
		}
		file := filepath.Join(folder, executable)
		if _, err := os.Stat(file); err == nil {
			return file, nil
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return "", err
		}
		// Built under another name and renamed, so that the file is complete.
		building, err := os.MkdirTemp(folder, "building-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(building)
		if out, err := build(building).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s %s cannot be built: %w\n%s", name, version, err, out)
		}
		return file, os.Rename(filepath.Join(building, executable), file)
	})
	return func(t *testing.T) string {
		t.Helper()
		file, err := once()
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
}

const (
	realUser     = "pusher"
	realPassword = "a-registry-password~4"
	// realHash is the bcrypt hash of the password, with minimal cost.
	realHash = "$2a$04$65c.h5XtHAMHDoEFt9SMp.gzVeyFYFXQPlpetNYZbh8xGTE/YLj3G"
)

// realRegistry is a registry that others wrote, started by a test.
type realRegistry struct {
	t    *testing.T
	host string
}

// startRegistry starts a CNCF registry, which allows deletion.
func startRegistry(t *testing.T) *realRegistry {
	t.Helper()
	return startRegistryAt(t, "127.0.0.1")
}

// startRegistryAt starts a CNCF registry at a loopback address.
func startRegistryAt(t *testing.T, address string) *realRegistry {
	t.Helper()
	return serveRegistry(t, registryProgram(t), address)
}

// serveRegistry starts a registry of either generation of the CNCF registry.
func serveRegistry(t *testing.T, program, address string) *realRegistry {
	t.Helper()
	dir := t.TempDir()
	users := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(users, []byte(realUser+":"+realHash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Another process may take the free port before the registry listens. The
	// registry then ends, and the test tries another port.
	var said string
	for range 5 {
		host := freeAddress(t, address)
		config := filepath.Join(dir, "config.yml")
		if err := os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}
http: {addr: %q}
auth: {htpasswd: {realm: test, path: %q}}
`, filepath.Join(dir, "images"), host, users), 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.Command(program, "serve", config)
		command.Env = []string{"OTEL_TRACES_EXPORTER=none", "HOME=" + dir}
		var log bytes.Buffer
		command.Stdout, command.Stderr = &log, &log
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = command.Wait()
			close(ended)
		}()
		end := func() {
			_ = command.Process.Kill()
			<-ended
		}
		if answers(host, ended) {
			t.Cleanup(end)
			return &realRegistry{t: t, host: host}
		}
		end()
		said = log.String()
	}
	t.Fatalf("the registry does not answer:\n%s", said)
	return nil
}

func freeAddress(t *testing.T, address string) string {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// answers waits until a host responds or its server has ended.
func answers(host string, ended <-chan struct{}) bool {
	for deadline := time.After(time.Minute); ; {
		select {
		case <-ended:
			return false
		case <-deadline:
			return false
		case <-time.After(50 * time.Millisecond):
		}
		if response, err := http.Get("http://" + host + "/v2/"); err == nil {
			response.Body.Close()
			return true
		}
	}
}

// send sends a request to the registry as the user, and fails the test unless it
// succeeds.
func (r *realRegistry) send(method, path, mediaType string, body []byte) *http.Response {
	r.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = "http://" + r.host + path
	}
	request, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.SetBasicAuth(realUser, realPassword)
	request.Header.Set("Content-Type", mediaType)
	request.Header.Set("Accept", strings.Join([]string{testimage.ManifestType, testimage.IndexType, string(types.DockerManifestSchema2), string(types.DockerManifestList)}, ", "))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body)
	if response.StatusCode/100 != 2 && response.StatusCode != http.StatusNotFound {
		r.t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, content)
	}
	response.Body = io.NopCloser(bytes.NewReader(content))
	return response
}

func (r *realRegistry) PutBlob(repository string, content []byte) string {
	r.t.Helper()
	digest := testimage.Digest(content)
	session := r.send(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", nil).Header.Get("Location")
	separator := "?"
	if strings.Contains(session, separator) {
		separator = "&"
	}
	r.send(http.MethodPut, session+separator+"digest="+digest, "application/octet-stream", content)
	return digest
}

func (r *realRegistry) Push(repository, tag, mediaType string, content []byte) string {
	r.t.Helper()
	digest := testimage.Digest(content)
	reference := tag
	if tag == "" {
		reference = digest
	}
	r.send(http.MethodPut, "/v2/"+repository+"/manifests/"+reference, mediaType, content)
	return digest
}

// digest returns the digest of the content that a reference resolves to, or "" if
// there is none.
func (r *realRegistry) digest(repository, reference string) string {
	r.t.Helper()
	response := r.send(http.MethodGet, "/v2/"+repository+"/manifests/"+reference, "", nil)
	if response.StatusCode == http.StatusNotFound {
		return ""
	}
	content, _ := io.ReadAll(response.Body)
	return testimage.Digest(content)
}
