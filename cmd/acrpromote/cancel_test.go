package main_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// holdDownload stops the first download of a blob of the image in the middle. reached
// is closed when it has stopped; release lets all downloads continue. The response
// has the length of the blob: the program gives up one with another length.
func (env *testEnv) holdDownload() (reached <-chan struct{}, release func()) {
	half, going := make(chan struct{}), make(chan struct{})
	var once, ending sync.Once
	env.cloud.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Host != prodStorage || env.readsRecord(r) {
			return false
		}
		var content []byte
		for _, digest := range env.prod.Blobs(cart) {
			if _, digits, _ := strings.Cut(digest, ":"); strings.Contains(r.URL.Path, digits) {
				content, _ = env.prod.Blob(cart, digest)
			}
		}
		if len(content) < 100 { // the empty config of an artifact
			return false
		}
		mine := false
		once.Do(func() { mine = true })
		if !mine {
			return false
		}
		rw.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = rw.Write(content[:len(content)/2])
		_ = http.NewResponseController(rw).Flush()
		close(half)
		select {
		case <-going:
		case <-r.Context().Done():
		}
		return true
	})
	release = func() { ending.Do(func() { close(going) }) }
	env.t.Cleanup(release)
	return half, release
}

func waitFor(t *testing.T, reached <-chan struct{}, p *process) {
	t.Helper()
	select {
	case <-reached:
	case <-time.After(time.Minute):
		_ = p.command.Process.Kill()
		t.Fatalf("the copy did not come so far:\n%s", p.wait().stdout)
	}
}

// TestCancel checks that after a cancellation during a copy, content that has
// arrived stays, no tag is visible, the result is reported, and a rerun completes
// it.
func TestCancel(t *testing.T) {
	env, image := ready(t)
	reached, letGo := env.holdDownload()
	p := env.start(env.environ(env.stage, push()))
	waitFor(t, reached, p)
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	o := p.wait().want("cancelled")
	if took := p.ended.Sub(stopped); took > 10*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	if len(o.at("errors").([]any)) == 0 {
		t.Error("nothing says that it was stopped")
	}
	env.untouched(env.dev)
	letGo()
	env.task(push()).want("done").wantStates("copied")
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// TestCancelEarly cancels before everything has been read.
func TestCancelEarly(t *testing.T) {
	env, _ := ready(t)
	reached := make(chan struct{})
	var once sync.Once
	env.organization.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(strings.ToLower(r.URL.Path), "/timeline") {
			return false
		}
		once.Do(func() { close(reached) })
		<-r.Context().Done()
		return true
	})
	p := env.start(env.environ(env.stage, push()))
	waitFor(t, reached, p)
	if err := p.command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	o := p.wait().want("cancelled")
	if got := writes(o.requests); len(got) != 0 {
		t.Errorf("written: %v", got)
	}
	env.organization.RestoreAnswers()
	env.task(push()).want("done")
}

// TestKill checks that a rerun after a kill has the same result and sends no layer
// again.
func TestKill(t *testing.T) {
	env := newTestEnv(t)
	image := pushImage(env.prod, cart, release, 1, 6, 4096)
	env.record(image)
	env.lock(release)
	env.approve(manager, "")
	reached, letGo := env.holdDownload()
	p := env.start(env.environ(env.stage, push()))
	waitFor(t, reached, p)
	// All other blobs arrive meanwhile, so that nothing is under way at the kill.
	others := len(env.prod.Blobs(cart)) - 1
	deadline := time.Now().Add(20 * time.Second)
	for len(env.dev.Blobs(cart)) < others && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if err := p.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait()
	letGo()
	env.untouched(env.dev)
	arrived := len(env.dev.Blobs(cart))
	if arrived != others {
		t.Fatalf("%d blobs had arrived, want %d", arrived, others)
	}
	o := env.task(push()).want("done")
	sent := 0
	for _, r := range writes(o.requests) {
		if strings.HasPrefix(r, "PUT ") && strings.Contains(r, "/blobs/") {
			sent++
		}
	}
	if all := len(env.dev.Blobs(cart)); sent != all-arrived {
		t.Errorf("the rerun sent %d blobs, %d of %d had arrived", sent, arrived, all)
	}
	if got := env.dev.TagDigest(cart, release); got != image.Digest {
		t.Errorf("tag %q", got)
	}
}

// TestKillSeal kills seal at every request. There is no seal or, after the rerun, a
// complete one.
func TestKillSeal(t *testing.T) {
	for _, stop := range []string{"PUT /v2/" + cart + "/manifests/", "PATCH /acr/v1/"} {
		t.Run(strings.ReplaceAll(stop, "/", " "), func(t *testing.T) {
			env := newTestEnv(t)
			image := pushIndex(env.prod, cart, release, 1)
			env.stage.Begin()
			reached := make(chan struct{})
			var once sync.Once
			remove := env.cloud.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.Method+" "+r.URL.Path, stop) {
					return false
				}
				once.Do(func() { close(reached) })
				<-r.Context().Done()
				return true
			})
			p := env.start(env.environ(env.stage, sealing))
			waitFor(t, reached, p)
			_ = p.command.Process.Kill()
			p.wait()
			remove()
			env.task(inputs{"action": "verify", "source": source}).want("done")
			env.task(sealing).want("done")
			again := env.task(sealing).want("done")
			if a, _ := env.prod.TagAttributes(cart, release); a.Write || a.Delete || len(env.prod.Referrers(cart, image.Digest)) != 1 || again.output["changed"] != "false" {
				t.Errorf("tag %+v, records %v", a, env.prod.Referrers(cart, image.Digest))
			}
		})
	}
}
