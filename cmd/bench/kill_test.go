package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"acrpromote/internal/testimage"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fakeJob in the environment makes of the test's program one that copies.
const fakeJob = "BENCH_FAKE_COPY"

func TestMain(m *testing.M) {
	if job := os.Getenv(fakeJob); job != "" {
		if err := fakeCopy(context.Background(), job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// copyJob is what the fake program copies, in this order. Where a tag is
// given, and is at the target, it takes all for done.
type copyJob struct {
	From, To           string
	Source, Repository string
	Done               string
	Steps              []copyStep
}

type copyStep struct{ Blob, Manifest, Reference string }

func fakeCopy(ctx context.Context, text string) error {
	var j copyJob
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	if j.Done != "" {
		if there, err := resolve(ctx, j.To, j.Repository, j.Done); there != "" || err != nil {
			return err
		}
	}
	for _, step := range j.Steps {
		what, to, kind, method := "/manifests/"+step.Manifest, "/manifests/"+step.Reference, testimage.ManifestType, http.MethodPut
		if step.Blob != "" {
			what, to, kind, method = "/blobs/"+step.Blob, "/blobs/uploads/?digest="+step.Blob, "application/octet-stream", http.MethodPost
		}
		resp, err := ask(ctx, http.MethodGet, j.From, j.Source+what)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s, %v", what, resp.Status, err)
		}
		if step.Blob == "" {
			kind = resp.Header.Get("Content-Type")
		}
		if _, err := send(ctx, method, "http://"+j.To+"/v2/"+j.Repository+to, kind, content, http.StatusCreated); err != nil {
			return err
		}
	}
	return nil
}

func send(ctx context.Context, method, address, mediaType string, body []byte, want int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := direct.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)); resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s answered %s: %s", method, address, resp.Status, text)
	}
	return resp, nil
}

// inMemory is a registry that keeps everything in memory, and its blobs for all
// repositories together.
func inMemory(t *testing.T) *registry {
	s := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return &registry{address: strings.TrimPrefix(s.URL, "http://")}
}

// TestSweepTellsRightFromWrong kills two fake programs at each request: one
// that shows the tag last, and one that shows it before what is attached, and
// that takes all for done where it is shown.
func TestSweepTellsRightFromWrong(t *testing.T) {
	ctx := t.Context()
	k := &killer{sides: &sides{inMemory(t), inMemory(t)}, folder: t.TempDir(), tell: t.Logf}
	s := newSeeder(k.sides.from.address, t.Name())
	i := image{repository: "shop/x", tag: "1.0"}
	root := s.platform("amd64", nil, kib)
	if err := s.pushRoot(ctx, &i, root); err != nil {
		t.Fatal(err)
	}
	sbom := s.artifact(root, "application/spdx+json", kib)
	if err := s.attach(ctx, &i, sbom); err != nil {
		t.Fatal(err)
	}
	attached := testimage.Of(sbom)
	k.image = i
	var err error
	if k.source, err = lookAt(ctx, k.sides.from.address, i.repository, i); err != nil {
		t.Fatal(err)
	}
	if k.source.root != i.root || len(k.source.parts) != 1+2+4+1 {
		t.Fatalf("the source shows %v", k.source)
	}
	listTag := testimage.FallbackTag(i.root)
	image := []copyStep{{Blob: i.blobs[0]}, {Blob: i.blobs[1]}}
	shown := copyStep{Manifest: i.tag, Reference: i.tag}
	company := []copyStep{{Blob: i.blobs[2]}, {Blob: i.blobs[3]}, {Manifest: attached.Digest, Reference: attached.Digest}, {Manifest: listTag, Reference: listTag}}

	program := func(done string, steps ...copyStep) contestant {
		return contestant{commands: one(func(w task, p pair) command {
			repository, _ := cut(p.target)
			job, err := json.Marshal(copyJob{From: w.from, To: w.to, Source: i.repository, Repository: repository, Done: done, Steps: steps})
			if err != nil {
				t.Error(err)
			}
			// A program with the race detector waits for a second at its end.
			return command{args: []string{os.Args[0]}, environment: []string{fakeJob + "=" + string(job), "GORACE=atexit_sleep_ms=0"}}
		})}
	}
	for _, test := range []struct {
		name    string
		program contestant
		want    sweep
	}{
		// Two requests a step; every blob is sent in each rerun.
		{"tag last", program("", append(append(image, company...), shown)...),
			sweep{Requests: 14, Kills: 28, Absent: 27, Whole: 1, Resent: bulk{times: 28 * 4}}},
		// One look, two blobs, then the tag with requests 6 and 7, and all is
		// there with request 15.
		{"tag first", program(i.tag, append(append(image, shown), company...)...),
			sweep{Requests: 15, Kills: 30, Absent: 13, Whole: 1, Incomplete: 16, Wrong: 16, Resent: bulk{times: 13 * 4}}},
		{"nothing attached", program("", append(image, shown)...),
			sweep{Requests: 6, Kills: 12, Absent: 11, Whole: 1, Resent: bulk{times: 12 * 2}, Never: []part{
				{entryPart, arrow(listTag, attached.Digest)}, {manifestPart, attached.Digest}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s sweep
			if err := k.sweep(ctx, test.program, &s); err != nil {
				t.Fatal(err)
			}
			t.Log(s.Findings)
			if (s.Wrong > 0) != (len(s.Findings) > 0) {
				t.Errorf("%d are wrong, and the findings are %v", s.Wrong, s.Findings)
			}
			got := sweep{Requests: s.Requests, Kills: s.Kills, Late: s.Late, Absent: s.Absent, Whole: s.Whole, Incomplete: s.Incomplete, Wrong: s.Wrong,
				Resent: bulk{times: s.Resent.times}, Never: s.Never}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("the sweep comes to\n%+v, want\n%+v", got, test.want)
			}
		})
	}
	t.Run("fails on its own", func(t *testing.T) {
		var s sweep
		err := k.sweep(ctx, program("", copyStep{Manifest: "2.0", Reference: "2.0"}), &s)
		if err == nil || !strings.Contains(err.Error(), "an undisturbed run fails") {
			t.Errorf("the sweep ends with %v", err)
		}
	})
}

// TestGateCountsUploads: in parts or at once, the digest that ends an upload
// tells whose bytes they were.
func TestGateCountsUploads(t *testing.T) {
	from, to := inMemory(t), inMemory(t)
	g, err := startGate(from.address, to.address)
	if err != nil {
		t.Fatal(err)
	}
	defer g.stop()
	content := []byte("ten bytes!")
	digest := testimage.Digest(content)
	put := func(method, address string, body []byte, want int) string {
		t.Helper()
		resp, err := send(t.Context(), method, address, "application/octet-stream", body, want)
		if err != nil {
			t.Fatal(err)
		}
		next, _ := resp.Location()
		if next == nil {
			return ""
		}
		if next.Host != g.target {
			t.Errorf("the upload goes on at %s, past the gate", next)
		}
		return next.String()
	}
	uploads := "http://" + g.target + "/v2/shop/x/blobs/uploads/"
	session := put(http.MethodPost, uploads, nil, http.StatusAccepted)
	session = put(http.MethodPatch, session, content, http.StatusAccepted)
	put(http.MethodPut, session+"?digest="+digest, nil, http.StatusCreated)
	session = put(http.MethodPost, uploads, nil, http.StatusAccepted)
	put(http.MethodPut, session+"?digest="+digest, content, http.StatusCreated)
	put(http.MethodPost, uploads+"?digest="+digest, content, http.StatusCreated)
	requests, sent := g.look()
	if want := map[string]bulk{digest: {3, 30}}; requests != 6 || !reflect.DeepEqual(sent, want) {
		t.Errorf("%d requests with %v, want 6 with %v", requests, sent, want)
	}
	g.reset(nil)
	if requests, sent := g.look(); requests != 0 || len(sent) != 0 {
		t.Errorf("after the reset there are %d requests with %v", requests, sent)
	}
}

func see(root string, parts ...part) view {
	v := view{root: root, parts: map[part]bool{}, sizes: map[string]int64{}}
	for _, p := range parts {
		v.parts[p] = true
		if p.kind == blobPart {
			v.sizes[p.name] = 10
		}
	}
	return v
}

func TestJudging(t *testing.T) {
	tag, blob := part{tagPart, arrow("1.0", "r")}, part{blobPart, "b"}
	root, child, entry := part{manifestPart, "r"}, part{manifestPart, "c"}, part{entryPart, arrow("sha256-r", "a")}
	want := see("r", tag, root, child, blob, entry)
	for _, test := range []struct {
		name   string
		seen   view
		end    view
		failed error
		sent   map[string]bulk
		result sweep
	}{
		{"nothing there, mended", see(""), want, nil, map[string]bulk{"b": {1, 10}}, sweep{Kills: 1, Absent: 1, Sent: bulk{1, 10}}},
		{"a blob sent again", see("", blob), want, nil, map[string]bulk{"b": {2, 20}},
			sweep{Kills: 1, Absent: 1, Arrived: bulk{1, 10}, Sent: bulk{2, 20}, Resent: bulk{2, 20}}},
		{"all there", want, want, nil, nil, sweep{Kills: 1, Whole: 1, Arrived: bulk{1, 10}}},
		{"visible without a child", see("r", tag, root, blob, entry), want, nil, nil,
			sweep{Kills: 1, Incomplete: 1, Arrived: bulk{1, 10}, Findings: []finding{{"the tag is visible without 1 manifest", 1, "here"}}}},
		{"visible without an entry", see("r", tag, root, child, blob), want, nil, nil,
			sweep{Kills: 1, Incomplete: 1, Arrived: bulk{1, 10}, Findings: []finding{{"the tag is visible without 1 entry of a list", 1, "here"}}}},
		{"visible, and another image", see("c", part{tagPart, arrow("1.0", "c")}, root, child, blob, entry), want, nil, nil,
			sweep{Kills: 1, Incomplete: 1, Arrived: bulk{1, 10}, Findings: []finding{{"the tag is visible without the tag `1.0`", 1, "here"}}}},
		{"not mended", see(""), see("r", tag, root, blob, entry), nil, nil,
			sweep{Kills: 1, Absent: 1, Wrong: 1, Findings: []finding{{"the rerun ends without 1 manifest", 1, "here"}}}},
		{"mended too much", see(""), see("r", tag, root, child, blob, entry, part{entryPart, arrow("sha256-r", "a, time 2")}), nil, nil,
			sweep{Kills: 1, Absent: 1, Wrong: 1, Findings: []finding{{"the rerun ends with more than belongs there: 1 entry of a list", 1, "here"}}}},
		{"the rerun fails", see(""), want, errors.New("exit\nstatus 1"), nil,
			sweep{Kills: 1, Absent: 1, Wrong: 1, Findings: []finding{{"the rerun fails: exit status 1", 1, "here"}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s sweep
			s.judgeKill("here", test.seen, want)
			s.judgeRerun("here", test.failed, test.seen, test.end, want, test.sent)
			if !reflect.DeepEqual(s, test.result) {
				t.Errorf("comes to\n%+v, want\n%+v", s, test.result)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	hex := strings.Repeat("0", 64)
	got := describe([]part{{tagPart, arrow("sha256-"+hex+".sig", "d")}, {tagPart, arrow("1.0", "d")}, {manifestPart, "a"}, {blobPart, "b"}, {blobPart, "c"},
		{entryPart, "e"}, {entryPart, "f"}})
	if want := "the tag `sha256-….sig`, the tag `1.0`, 1 manifest, 2 blobs, 2 entries of lists"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestKillTable(t *testing.T) {
	k := &killing{Command: "./build.sh bench -kill", System: "linux/amd64", Cores: 2, Subject: "1 platform, 1 referrer", Size: 3 * mib,
		Versions: map[string]string{"acrpromote": "1.0", "oras": "v2", "registry": "v3", "crane": "v4"},
		Parts:    see("r", part{manifestPart, "r"}, part{manifestPart, "a"}, part{blobPart, "b"})}
	few := &sweep{Contestant: "acrpromote", Requests: 20, Kills: 39, Late: 1, Absent: 37, Whole: 2, Arrived: bulk{100, 39 * mib}, Sent: bulk{80, 78 * mib}}
	bad := &sweep{Contestant: "regctl", Requests: 30, Kills: 60, Absent: 50, Whole: 4, Incomplete: 6, Wrong: 12, Arrived: bulk{100, 60 * mib},
		Sent: bulk{80, 90 * mib}, Resent: bulk{7, 30 * mib}, Never: []part{{tagPart, arrow("sha256-abc.sig", "d")}, {blobPart, "b"}}}
	for n := range 10 {
		bad.find(fmt.Sprintf("request %d, answered", n), fmt.Sprintf("wrong in way %d", n/2*2))
		bad.find("elsewhere", fmt.Sprintf("wrong in way %d", n))
	}
	k.Sweeps = []*sweep{few, bad, {Contestant: "oras", Failed: "an undisturbed run\nfails"}}
	got := k.markdown()
	file := filepath.Join("testdata", "kill-sweep.golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the page is not that of %s; go test ./cmd/bench -update writes it anew:\n%s", file, got)
	}
}
