package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"acrpromote/internal/maxrss"
)

// BenchmarkMemory tells the most memory that the program has while it moves
// what is large, or many: a layer of 10 GiB, an index of 500 children, 500
// images, 20 targets of 13 blobs; and what it has where there is nothing to
// move ("idle"). Both registries are made up: layers are zeros that are not
// kept.
func BenchmarkMemory(b *testing.B) {
	const gib = int64(1) << 30
	for _, c := range []struct {
		name    string
		images  int
		targets int
		build   func(s *hollow, repository string) string
	}{
		{"idle", 1, 1, func(s *hollow, r string) string { return s.image(0, 1) }},
		{"layer of 10 GiB", 1, 1, func(s *hollow, r string) string { return s.image(10*gib, 1) }},
		{"500 children", 1, 1, func(s *hollow, r string) string { return s.index(500) }},
		{"500 images", 500, 1, func(s *hollow, r string) string { return s.image(64<<10, 5) }},
		{"20 targets of 13 blobs of 32 MiB", 1, 20, func(s *hollow, r string) string { return s.image(32<<20, 12) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			source := newHollow(b)
			var lines []string
			for i := range c.images {
				repository := fmt.Sprintf("shop/app%d", i)
				source.tags[repository] = c.build(source, repository)
				lines = append(lines, repository+":1.0")
			}
			for range b.N {
				benchMemory(b, source, c.targets, lines)
			}
		})
	}
}

func benchMemory(b *testing.B, source *hollow, targets int, lines []string) {
	b.Helper()
	dir := b.TempDir()
	flow := fmt.Sprintf("version: 1\ntrust: [dev, production]\nregistries:\n  prod: {host: %q, trust: production}\n", source.host)
	arguments := []string{"invertedPush", "--referrers=false", "--flowFile", "flows.yml", "--flow", "all", "--imagesFrom", "images.txt", "--plain-http", source.host}
	var to []string
	for i := range targets {
		target := newHollow(b)
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
	command := exec.Command(binary, arguments...)
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

// hollow is a registry whose layers are zeros, made when they are asked for,
// and which forgets what is put.
type hollow struct {
	host      string
	tags      map[string]string // root, by repository
	manifests map[string][]byte
	sizes     map[string]int64  // of blobs
	zeros     map[int64]string  // digests, by size
	configs   map[string][]byte // blobs that are no zeros
}

func newHollow(b *testing.B) *hollow {
	h := &hollow{tags: map[string]string{}, manifests: map[string][]byte{}, sizes: map[string]int64{}, zeros: map[int64]string{}, configs: map[string][]byte{}}
	server := httptest.NewServer(h)
	b.Cleanup(server.Close)
	h.host = strings.TrimPrefix(server.URL, "http://")
	return h
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// layer is a blob of zeros of about this size: no two are alike.
func (h *hollow) layer(size int64) map[string]any {
	size += int64(len(h.sizes))
	if h.zeros[size] == "" {
		sum := sha256.New()
		_, _ = io.CopyN(sum, zeros{}, size)
		h.zeros[size] = "sha256:" + hex.EncodeToString(sum.Sum(nil))
		h.sizes[h.zeros[size]] = size
	}
	return map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": h.zeros[size], "size": size}
}

func (h *hollow) image(size int64, layers int) string {
	config := fmt.Appendf(nil, `{"number":%d}`, len(h.configs))
	digest := describe("", config).Digest
	h.configs[digest] = config
	var list []any
	for range layers {
		list = append(list, h.layer(size))
	}
	return h.keep(imageType, map[string]any{"schemaVersion": 2, "mediaType": imageType, "layers": list,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(config)}})
}

func (h *hollow) index(children int) string {
	var list []any
	for range children {
		child := h.image(32<<10, 3)
		list = append(list, map[string]any{"mediaType": imageType, "digest": child, "size": len(h.manifests[child])})
	}
	return h.keep(indexType, map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": list})
}

func (h *hollow) keep(mediaType string, document map[string]any) string {
	raw, _ := json.Marshal(document)
	digest := describe(mediaType, raw).Digest
	h.manifests[digest] = raw
	return digest
}

func (h *hollow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repository, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	switch {
	case r.Method == http.MethodPost:
		w.Header().Set("Location", r.URL.Path+"1")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut && rest != "":
		raw, _ := io.ReadAll(r.Body)
		w.Header().Set("Docker-Content-Digest", describe("", raw).Digest)
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	case rest != "":
		digest := rest
		if root := h.tags[repository]; digest == "1.0" {
			digest = root
		}
		raw, ok := h.manifests[digest]
		if !ok {
			http.NotFound(w, r)
			return
		}
		var shape struct{ MediaType string }
		_ = json.Unmarshal(raw, &shape)
		w.Header().Set("Content-Type", shape.MediaType)
		w.Header().Set("Docker-Content-Digest", digest)
		_, _ = w.Write(raw)
	case strings.Contains(r.URL.Path, "/blobs/"):
		digest := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if config, ok := h.configs[digest]; ok {
			_, _ = w.Write(config)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(h.sizes[digest]))
		_, _ = io.CopyN(w, zeros{}, h.sizes[digest])
	default:
		http.NotFound(w, r)
	}
}
