package main_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"acrpromote/internal/sim"
)

// TestKillSweep kills an inverted push of an index with referrers and a cosign tag,
// with lock: tag, before and after the response to each request. Either the tag is
// absent, or the image is complete with everything attached. The rerun succeeds and
// sends no blob again that has arrived.
//
// The test covers a sample of the requests; ACRPROMOTE_FULL_SWEEP=1 covers all.
func TestKillSweep(t *testing.T) {
	locked := push("lock", "tag")
	env, _, _, _ := cosigned(t)
	total := len(env.task(locked).want("done").wantStates("copied").requests)
	goal := shown(env.dev)

	step := 16
	if os.Getenv("ACRPROMOTE_FULL_SWEEP") == "1" {
		step = 1
	}
	var kills, before, after, late atomic.Int64
	t.Run("kill", func(t *testing.T) {
		for at := 1; at <= total; at++ {
			// The last ones, which set and lock the tag, are always among them.
			if at%step != 0 && at <= total-3 {
				continue
			}
			for _, answered := range []bool{false, true} {
				t.Run(fmt.Sprintf("at %d answered %v", at, answered), func(t *testing.T) {
					env, image, attached, signature := cosigned(t)
					o, finished := env.kill(locked, at, answered)
					if finished {
						late.Add(1)
					}
					kills.Add(1)
					arrived := len(env.dev.Blobs(cart))
					for _, tag := range env.dev.Tags(cart) {
						if missing := lacking(env.dev, cart, tag); len(missing) > 0 {
							t.Errorf("%s is visible and lacks %v", tag, missing)
						}
					}
					if env.dev.TagDigest(cart, release) == "" {
						before.Add(1)
					} else {
						after.Add(1)
						if missing := whole(env.dev, image, attached, signature); len(missing) > 0 {
							t.Errorf("the tag is visible, and DEV lacks %v", missing)
						}
					}
					o = env.task(locked).want("done")
					if got := shown(env.dev); got != goal {
						t.Errorf("the rerun ends with\n%s\nwant\n%s", got, goal)
					}
					sent := 0
					for _, written := range writes(o.requests) {
						if strings.HasPrefix(written, "PUT ") && strings.Contains(written, "/blobs/") {
							sent++
						}
					}
					if all := len(env.dev.Blobs(cart)); sent > all-arrived {
						t.Errorf("the rerun sent %d blobs, and %d of %d had arrived", sent, arrived, all)
					}
				})
			}
		}
	})
	t.Logf("%d requests, %d kills (%d came too late), the tag not yet visible after %d, whole after %d", total, kills.Load(), late.Load(), before.Load(), after.Load())
	if before.Load() == 0 || after.Load() == 0 || late.Load() > kills.Load()/10 {
		t.Error("the sweep misses what it is for")
	}
}

// kill runs a step and kills it before or after the response to the request with the
// number at, from 1. finished reports that it ended before: the number of requests
// differs slightly between runs.
func (env *testEnv) kill(in inputs, at int, answered bool) (o outcome, finished bool) {
	env.t.Helper()
	started := make(chan *process, 1)
	script := env.cloud.Script(sim.Fault{Skip: at - 1, Do: func(rw http.ResponseWriter, r *http.Request, rest http.Handler) {
		if answered {
			rest.ServeHTTP(rw, r)
			_ = http.NewResponseController(rw).Flush()
		}
		_ = (<-started).command.Process.Kill()
		panic(http.ErrAbortHandler)
	}})
	defer script.Stop()
	p := env.start(env.environ(env.stage, in))
	started <- p
	o = p.wait()
	return o, script.Happened()[0] == 0 || o.code >= 0
}

// shown returns what a registry has of the repository: tags with their digests and
// locks, manifests and blobs.
func shown(r *sim.Registry) string {
	var text strings.Builder
	for _, tag := range r.Tags(cart) {
		a, _ := r.TagAttributes(cart, tag)
		fmt.Fprintf(&text, "%s %s write %v delete %v\n", tag, a.Digest, a.Write, a.Delete)
	}
	for _, digest := range r.Digests(cart) {
		a, _ := r.ManifestAttributes(cart, digest)
		fmt.Fprintf(&text, "%s write %v delete %v\n", digest, a.Write, a.Delete)
	}
	return text.String() + strings.Join(slices.Concat(r.Blobs(cart)), "\n")
}
