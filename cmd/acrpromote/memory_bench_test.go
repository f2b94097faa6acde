package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"acrpromote/internal/maxrss"
	"acrpromote/internal/testimage"
)

// BenchmarkMemory measures the peak memory of the program for large and for many
// things: a layer of 10 GiB, an index of 500 children, 500 images, 20 targets of 13
// blobs; and if there is nothing to copy ("idle"). Both registries are fakes that
// keep no layers.
func BenchmarkMemory(b *testing.B) {
	const gib = int64(1) << 30
	for _, c := range []struct {
		name    string
		images  int
		targets int
		build   func(name string) mutate.Appendable
	}{
		{"idle", 1, 1, func(name string) mutate.Appendable { return sized(name, 1, 0) }},
		{"layer of 10 GiB", 1, 1, func(name string) mutate.Appendable { return sized(name, 1, 10*gib) }},
		{"500 children", 1, 1, func(name string) mutate.Appendable { return indexOf(name, 500) }},
		{"500 images", 500, 1, func(name string) mutate.Appendable { return sized(name, 5, 64<<10) }},
		{"20 targets of 13 blobs of 32 MiB", 1, 20, func(name string) mutate.Appendable { return sized(name, 12, 32<<20) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			source := newHollow(b)
			var lines []string
			for i := range c.images {
				repository := fmt.Sprintf("shop/app%d", i)
				source.add(repository, c.build(repository))
				lines = append(lines, repository+":1.0")
			}
			for range b.N {
				benchMemory(b, source, func() *hollow { return newHollow(b) }, c.targets, lines, "invertedPush", "--referrers=false")
			}
		})
	}
}

// BenchmarkPlanOfSet measures time and peak memory of a plan for 500 images to 20
// targets, each of which has an earlier version of every image; and of verify, which
// compares nothing.
func BenchmarkPlanOfSet(b *testing.B) {
	for _, action := range []string{"verify", "plan"} {
		b.Run(action, func(b *testing.B) {
			const images, targets = 500, 20
			source, earlier := newHollow(b), newHollow(b)
			var lines []string
			for i := range images {
				repository := fmt.Sprintf("shop/app%d", i)
				source.add(repository, sized(repository, 5, 64<<10))
				earlier.add(repository, sized(repository, 4, 64<<10))
				lines = append(lines, repository+":1.0")
			}
			target := func() *hollow {
				h := newHollow(b)
				h.earlier, h.manifests, h.blobs = earlier.tags, earlier.manifests, earlier.blobs
				return h
			}
			for range b.N {
				benchMemory(b, source, target, targets, lines, action)
			}
		})
	}
}

func benchMemory(b *testing.B, source *hollow, newTarget func() *hollow, targets int, lines []string, arguments ...string) {
	b.Helper()
	dir := b.TempDir()
	flow := fmt.Sprintf("version: 1\ntrust: [dev, production]\nregistries:\n  prod: {host: %q, trust: production}\n", source.host)
	arguments = append(arguments, "--flowFile", "flows.yml", "--flow", "all", "--imagesFrom", "images.txt", "--plain-http", source.host)
	var to []string
	for i := range targets {
		target := newTarget()
		to = append(to, fmt.Sprintf("dev%d", i))
		flow += fmt.Sprintf("  dev%d: {host: %q, trust: dev}\n", i, target.host)
		arguments = append(arguments, "--plain-http", target.host)
	}
	flow += fmt.Sprintf("flows:\n  all: {from: prod, to: [%s], repositories: [\"**\"], require: {approval: {kind: none}, sealed: false}}\n", strings.Join(to, ", "))
	for name, content := range map[string]string{"flows.yml": flow, "images.txt": strings.Join(lines, "\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	command := exec.Command(plainBinary, arguments...)
	command.Env, command.Dir = []string{"HOME=" + dir, "DOCKER_CONFIG=" + dir}, dir
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	most := maxrss.Watch(command.Process.Pid)
	err := command.Wait()
	had := most(command.ProcessState)
	if err != nil {
		b.Fatalf("%v\n%.3000s", err, output.String())
	}
	b.ReportMetric(float64(had)/(1<<20), "MiB-peak")
}

// hollow is a registry that generates its layers on request and discards what is
// pushed.
type hollow struct {
	host      string
	tags      map[string]string // digests of the tag 1.0, by repository
	earlier   map[string]string // the same of the tag 0.9
	manifests map[string]testimage.Part
	blobs     map[string]v1.Layer
}

func newHollow(b *testing.B) *hollow {
	h := &hollow{tags: map[string]string{}, manifests: map[string]testimage.Part{}, blobs: map[string]v1.Layer{}}
	server := httptest.NewServer(h)
	b.Cleanup(server.Close)
	h.host = strings.TrimPrefix(server.URL, "http://")
	return h
}

func (h *hollow) add(repository string, root mutate.Appendable) {
	parts := testimage.PartsOf(root)
	for _, m := range parts.Manifests {
		h.manifests[m.Digest] = m
	}
	for _, blob := range parts.Blobs {
		h.blobs[testimage.Of(blob).Digest] = blob
	}
	h.tags[repository] = testimage.Of(root).Digest
}

// sized returns an image of a given size that is unique for its name.
func sized(name string, layers int, size int64) v1.Image {
	var all []v1.Layer
	for i := range layers {
		all = append(all, testimage.Layer(fmt.Sprintf("%s/%d", name, i), size))
	}
	return testimage.Image("amd64", all...)
}

func indexOf(name string, children int) v1.ImageIndex {
	var all []mutate.Appendable
	for i := range children {
		all = append(all, sized(fmt.Sprintf("%s/%d", name, i), 3, 32<<10))
	}
	return testimage.Index(all...)
}

func (h *hollow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repository, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	switch {
	case r.Method == http.MethodPost:
		w.Header().Set("Location", r.URL.Path+"1")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut && rest != "":
		raw, _ := io.ReadAll(r.Body)
		w.Header().Set("Docker-Content-Digest", testimage.Digest(raw))
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	case rest != "":
		digest := rest
		switch digest {
		case "1.0":
			digest = h.tags[repository]
		case "0.9":
			digest = h.earlier[repository]
		}
		m, ok := h.manifests[digest]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", m.MediaType)
		w.Header().Set("Docker-Content-Digest", digest)
		_, _ = w.Write(m.Content)
	case strings.Contains(r.URL.Path, "/blobs/"):
		blob, ok := h.blobs[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(testimage.Of(blob).Size))
		content, _ := blob.Compressed()
		_, _ = io.Copy(w, content)
	case strings.HasSuffix(r.URL.Path, "/tags/list") && h.earlier != nil:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"tags":["0.9"]}`)
	default:
		http.NotFound(w, r)
	}
}
