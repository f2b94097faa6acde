//go:build !race

package main_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"acrpromote/internal/maxrss"
	"acrpromote/internal/testimage"
)

// maxHostileMemory bounds what the program may take for hostile responses, above
// what it takes for one small image.
const maxHostileMemory = 96 << 20

const (
	hostileManifest = 4 << 20   // the largest manifest
	hostileWire     = 128 << 20 // what is on the wire in each case
	hostileImages   = hostileWire / hostileManifest
)

const (
	beginIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[`
	beginImage = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},`
)

// filled returns begin, as many elements with commas as fit into size, and end.
func filled(size int, begin, element, end string) string {
	n := (size - len(begin) - len(end)) / (len(element) + 1)
	return begin + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + end
}

// numbered is filled with elements that differ.
func numbered(size int, begin, end string, element func(i int) string) string {
	var b strings.Builder
	b.WriteString(begin)
	for i := 0; ; i++ {
		e := element(i)
		if b.Len()+len(e)+len(end)+1 > size {
			return strings.TrimSuffix(b.String(), ",") + end
		}
		b.WriteString(e + ",")
	}
}

func descriptorOf(i int) string {
	return fmt.Sprintf(`{"digest":"sha256:%064d","size":1}`, i)
}

// hostile is a registry whose responses respond gives if it returns true; others
// are those of a hollow registry.
type hostile struct {
	*hollow
	respond func(w http.ResponseWriter, r *http.Request) bool
	sent    atomic.Int64
}

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.respond(counted{w, &h.sent}, r) {
		h.hollow.ServeHTTP(w, r)
	}
}

type counted struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// send responds with a body to requests whose path contains part.
func send(part string, status int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		w.Header().Set("Docker-Content-Digest", testimage.Digest([]byte(body)))
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = w.Write([]byte(body))
		}
		return true
	}
}

// chunked is send without a Content-Length.
func chunked(part string, status int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		w.WriteHeader(status)
		for begin := 0; begin < len(body) && r.Method != http.MethodHead; begin += 32 << 10 {
			_, _ = w.Write([]byte(body[begin:min(begin+32<<10, len(body))]))
			w.(counted).ResponseWriter.(http.Flusher).Flush()
		}
		return true
	}
}

// TestMemoryOfHostileRegistry runs the program against a registry whose responses
// are made to take memory: 128 MiB of a kind, all at once. The program ends with a
// clear error, and takes at most 96 MiB more than for a small image.
// BenchmarkHostileMemory has more kinds.
func TestMemoryOfHostileRegistry(t *testing.T) {
	idle := idleMemory(t)
	for _, c := range hostileCases() {
		if !c.always {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			peak, _, output := c.run(t)
			if peak-idle > maxHostileMemory {
				t.Errorf("it took %d MiB more than idle", (peak-idle)>>20)
			}
			if !strings.Contains(output, c.says) {
				t.Errorf("the output does not say %q:\n%s", c.says, output[max(0, len(output)-1500):])
			}
		})
	}
}

// BenchmarkHostileMemory reports the most memory that 128 MiB of each kind of
// hostile response take, above that of a small image.
func BenchmarkHostileMemory(b *testing.B) {
	idle := idleMemory(b)
	for _, c := range hostileCases() {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				peak, sent, output := c.run(b)
				b.ReportMetric(float64(peak-idle)/(1<<20), "MiB-above-idle")
				b.ReportMetric(float64(sent)/(1<<20), "MiB-sent")
				if !strings.Contains(output, c.says) {
					b.Errorf("the output does not say %q:\n%s", c.says, output[max(0, len(output)-1500):])
				}
			}
		})
	}
}

// idleMemory returns the peak memory for one small image.
func idleMemory(t testing.TB) int64 {
	t.Helper()
	peak, _, output := hostileRun(t, 1, func(http.ResponseWriter, *http.Request) bool { return false }, "")
	if !strings.Contains(output, "copied") {
		t.Fatalf("%.3000s", output)
	}
	return peak
}

type hostileCase struct {
	name    string
	always  bool // tests run it too, not only benchmarks
	respond func(w http.ResponseWriter, r *http.Request) bool
	input   string
	says    string
	images  int // 0: hostileImages
}

func (c hostileCase) run(t testing.TB) (peak, sent int64, output string) {
	return hostileRun(t, cmp.Or(c.images, hostileImages), c.respond, c.input)
}

// padded returns the valid manifest of an image with two small blobs, of a given size:
// with more layers than the two blobs, each named again, or with a long field.
func padded(size, layers int) string {
	const blob = `"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2`
	var b strings.Builder
	b.WriteString(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",` + blob + `},"layers":[`)
	for i := range layers {
		fmt.Fprintf(&b, `{"mediaType":"application/vnd.example.%d","digest":"sha256:%064x","size":2},`, i%7, i)
	}
	b.WriteString(`{"mediaType":"application/vnd.oci.image.layer.v1.tar",` + blob + `}],"x":"`)
	return b.String() + strings.Repeat("x", size-b.Len()-2) + `"}`
}

// serve responds to requests for a manifest whose path contains part, and for the same
// by its digest, and serves the blobs of padded.
func serve(part, mediaType, body string) func(http.ResponseWriter, *http.Request) bool {
	digest := testimage.Digest([]byte(body))
	return func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.Contains(r.URL.Path, "/blobs/"):
			w.Header().Set("Content-Length", "2")
			_, _ = w.Write([]byte("{}"))
			return true
		case !strings.Contains(r.URL.Path, part) && !strings.HasSuffix(r.URL.Path, digest):
			return false
		}
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if r.Method != http.MethodHead {
			_, _ = w.Write([]byte(body))
		}
		return true
	}
}

// children serves an index of valid manifests of a size, which differ in one field.
func children(n, size int) func(http.ResponseWriter, *http.Request) bool {
	begin, end, _ := strings.Cut(padded(size-8, 0), `"x":"`)
	bodies := map[string]string{} // their beginnings, by digest
	index := beginIndex
	for i := range n {
		first := fmt.Sprintf(`%s"x":"%08d`, begin, i)
		digest := testimage.Digest([]byte(first + end))
		bodies[digest] = first
		index += fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d},`, testimage.ManifestType, digest, size)
	}
	root := serve("/manifests/1.0", testimage.IndexType, strings.TrimSuffix(index, ",")+"]}")
	return func(w http.ResponseWriter, r *http.Request) bool {
		digest := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		first, ok := bodies[digest]
		if !ok {
			return root(w, r)
		}
		w.Header().Set("Content-Type", testimage.ManifestType)
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.WriteString(w, first)
		_, _ = io.WriteString(w, end)
		return true
	}
}

// headers responds with many small headers.
func headers(part string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		for i := range 20_000 {
			w.Header()[fmt.Sprintf("A%d", i)] = []string{"", ""}
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	}
}

// tokens refuses every request, and gives another large token each time.
func tokens() func(http.ResponseWriter, *http.Request) bool {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_, _ = fmt.Fprintf(w, `{"token":"%060000d"}`, n.Add(1))
			return true
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s",error="insufficient_scope"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

// pages responds with lists of digest tags, each page another.
func pages(w http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/tags/list") {
		return false
	}
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d&%s>; rel="next"`, r.URL.Path, page+1, strings.Repeat("x", 20_000)))
	if page == 9 {
		w.Header().Del("Link")
	}
	_, _ = w.Write([]byte(numbered(1<<20, `{"tags":[`, `]}`, func(i int) string { return fmt.Sprintf(`"sha256-%032x%032x.sig"`, page, i) })))
	return true
}

func hostileCases() []hostileCase {
	empties := filled(hostileManifest, beginIndex, `{}`, `]}`)
	const manifest = "/manifests/1.0"
	return []hostileCase{
		{"indexes of empty objects", true, send(manifest, 200, empties), "", "has no digest", 0},
		{"indexes of empty objects, chunked", false, chunked(manifest, 200, empties), "", "has no digest", 0},
		{"indexes of nulls", false, send(manifest, 200, filled(hostileManifest, beginIndex, `null`, `]}`)), "", "has no digest", 0},
		{"indexes of too many children", false, send(manifest, 200, numbered(hostileManifest, beginIndex, `]}`, descriptorOf)), "", "more than 20000 manifests", 0},
		{"images of empty layers", false, send(manifest, 200, filled(hostileManifest, beginImage+`"layers":[`, `{}`, `]}`)), "", "has no digest", 0},
		{"images of too many layers", true, send(manifest, 200, numbered(hostileManifest, beginImage+`"layers":[`, `]}`, descriptorOf)), "", "more than 10000 layers", 0},
		{"images of annotations", false, send(manifest, 200, numbered(hostileManifest, beginImage+`"annotations":{`, `}}`, func(i int) string { return fmt.Sprintf(`"%d":""`, i) })), "", "more than 1000 annotations", 0},
		{"images of deep nesting", false, send(manifest, 200, beginImage+`"x":`+strings.Repeat("[", hostileManifest-1000)+`}`), "", "max depth", 0},
		{"images of a huge number", false, send(manifest, 200, beginImage+`"layers":[{"size":`+strings.Repeat("9", hostileManifest-1000)+`}]}`), "", "cannot unmarshal", 0},
		{"images of a huge text", false, send(manifest, 200, beginImage+`"layers":[{"digest":"`+strings.Repeat("9", hostileManifest-1000)+`"}]}`), "", "digest", 0},
		{"manifests that are no JSON", false, send(manifest, 200, strings.Repeat("<", hostileManifest)), "", "not valid JSON", 0},
		{"manifests without end", false, chunked(manifest, 200, strings.Repeat(" ", hostileManifest*2)), "", "longer than", 0},
		{"referrers of empty objects", true, send("/referrers/", 200, empties), "referrers=true", "has no digest", 0},
		{"referrers, too many", false, send("/referrers/", 200, numbered(hostileManifest, beginIndex, `]}`, descriptorOf)), "referrers=true", "more than 10000 entries", 0},
		{"fallback lists of empty objects", false, send("/manifests/sha256-", 200, empties), "referrers=true", "has no digest", 0},
		{"tag lists of empty names", true, send("/tags/list", 200, filled(16<<20, `{"tags":[`, `""`, `]}`)), "referrers=true", "", 0},
		{"tag lists of digest tags", false, send("/tags/list", 200, numbered(16<<20, `{"tags":[`, `]}`, func(i int) string { return fmt.Sprintf(`"sha256-%064d"`, i) })), "referrers=true", "more than 100000 digest tags", 0},
		{"valid images", true, serve(manifest, testimage.ManifestType, padded(hostileManifest, 0)), "", "copied", 0},
		{"valid images of many layers", false, serve(manifest, testimage.ManifestType, padded(1400<<10, 9_000)), "", "of this run take more than", 150},
		{"an index of 200 manifests of 1 MiB", false, children(200, 1<<20), "", "copied", 1},
		{"an index of 200 manifests of 4 MiB", false, children(200, hostileManifest), "", "512 MiB of them", 1},
		{"tag lists of many pages of digest tags", false, pages, "referrers=true", "of this run take more than", 0},
		{"tokens", false, tokens(), "", "the tokens of this run have more than 4 MiB", 1200},
		{"responses of headers", false, headers(manifest), "", "exceeded", 0},
		{"error responses", false, send(manifest, 403, filled(hostileManifest, `{"errors":[`, `{}`, `]}`)), "", "403", 0},
		{"error responses, chunked", false, chunked(manifest, 404, filled(hostileManifest, `{"errors":[`, `{}`, `]}`)), "", "404", 0},
	}
}

// hostileRun moves images from a registry whose responses respond gives, if it
// returns true. It returns the peak memory, the bytes of these responses, and what
// the program writes.
func hostileRun(t testing.TB, images int, respond func(http.ResponseWriter, *http.Request) bool, input string) (peak, sent int64, output string) {
	t.Helper()
	h := &hostile{hollow: &hollow{tags: map[string]string{}, manifests: map[string]testimage.Part{}, blobs: map[string]v1.Layer{}}, respond: respond}
	server := httptest.NewServer(h)
	defer server.Close()
	source := strings.TrimPrefix(server.URL, "http://")
	quiet := &hollow{}
	target := httptest.NewServer(quiet)
	defer target.Close()
	to := strings.TrimPrefix(target.URL, "http://")
	var lines []string
	for i := range images {
		repository := fmt.Sprintf("shop/app%d", i)
		h.add(repository, testimage.Image("amd64"))
		lines = append(lines, repository+":1.0")
	}
	dir := t.TempDir()
	flow := fmt.Sprintf("version: 1\ntrust: [dev, production]\nregistries:\n  prod: {host: %q, trust: production}\n  dev: {host: %q, trust: dev}\n", source, to) +
		"flows:\n  all: {from: prod, to: [dev], repositories: [\"**\"], require: {approval: {kind: none}, sealed: false}}\n"
	for name, content := range map[string]string{"flows.yml": flow, "images.txt": strings.Join(lines, "\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if input == "" {
		input = "referrers=false"
	}
	command := exec.Command(plainBinary, "invertedPush", "--flowFile", "flows.yml", "--flow", "all", "--imagesFrom", "images.txt", "--plain-http", source, "--plain-http", to, "--"+input)
	command.Env, command.Dir = []string{"HOME=" + dir, "DOCKER_CONFIG=" + dir}, dir
	var text bytes.Buffer
	command.Stdout, command.Stderr = &text, &text
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	most := maxrss.Watch(command.Process.Pid)
	_ = command.Wait()
	peak = most(command.ProcessState)
	return peak, h.sent.Load(), strings.Join(strings.Fields(text.String()), " ")
}

// TestMemoryOfHostileAzureDevOps runs the program against an Azure DevOps whose documents
// are made to take memory. It refuses or fails, and takes at most 96 MiB more than
// for the documents as they are.
func TestMemoryOfHostileAzureDevOps(t *testing.T) {
	env, _ := ready(t)
	env.command = []string{plainBinary} // the race detector takes memory of its own
	peakOf := func(done bool) int64 {
		p := env.start(env.environ(env.stage, push()))
		most := maxrss.Watch(p.command.Process.Pid)
		if o := p.wait(); done != (o.result["outcome"] == "done") {
			t.Errorf("outcome %v\n%.3000s", o.result["outcome"], o.stdout)
		}
		return most(p.command.ProcessState)
	}
	idle := peakOf(true)
	for _, c := range []struct{ name, path, body string }{
		{"timeline of empty records", "/timeline", filled(16<<20, `{"records":[`, `{}`, `]}`)},
		{"timeline of long texts", "/timeline", `{"records":[{"name":"` + strings.Repeat("x", 15<<20) + `"}]}`},
		{"approvals", "/pipelines/approvals", filled(16<<20, `{"value":[`, `{"steps":[{}]}`, `]}`)},
		{"check suite", "/pipelines/checks/runs", filled(16<<20, `{"checkRuns":[`, `{}`, `]}`)},
		{"builds", "/build/builds/", filled(16<<20, `{"tags":[`, `""`, `]}`)},
		{"not JSON", "/timeline", strings.Repeat("<", 16<<20)},
	} {
		t.Run(c.name, func(t *testing.T) {
			env.organization.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(strings.ToLower(r.URL.Path), c.path) {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, c.body)
				return true
			})
			defer env.organization.RestoreAnswers()
			peak := peakOf(false)
			t.Logf("%.1f MiB more than idle", float64(peak-idle)/(1<<20))
			if peak-idle > maxHostileMemory {
				t.Errorf("it took %d MiB more than idle", (peak-idle)>>20)
			}
		})
	}
}
