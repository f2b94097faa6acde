package fakeagent_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// large is the size of a layer that takes long on a slow line.
const large = 48 << 20

// slowly lets uploads to a registry trickle in, and signals when the first has
// come some way.
func (env *testEnv) slowly(host string) (begun <-chan struct{}, restore func()) {
	signal := make(chan struct{})
	var once sync.Once
	restore = env.cloud.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasPrefix(r.Host, host) && strings.Contains(r.URL.Path, "/blobs/uploads/") && r.ContentLength > 1<<20 {
			r.Body = &trickle{ReadCloser: r.Body, begun: func() { once.Do(func() { close(signal) }) }}
		}
		return false
	})
	return signal, restore
}

type trickle struct {
	io.ReadCloser
	read  int
	begun func()
}

func (t *trickle) Read(p []byte) (int, error) {
	if t.read > 1<<20 {
		t.begun()
		time.Sleep(20 * time.Millisecond)
	}
	n, err := t.ReadCloser.Read(p[:min(len(p), 32<<10)])
	t.read += n
	return n, err
}

func (env *testEnv) pushDown(stage *sim.Stage) *fakeagent.Step {
	env.t.Helper()
	return env.start(stage, "action", "invertedPush", "source", source, "targets", devHost, "environment", "Production")
}

// stopped waits for the middle of a large copy, stops it, and looks at what is
// left: nothing runs, no tag points at anything, and a rerun completes.
func stopped(t *testing.T, stop func(*fakeagent.Step), check func(fakeagent.Outcome)) {
	env := newTestEnv(t)
	stage, digest := env.released(large)
	begun, restore := env.slowly(devHost)
	step := env.pushDown(stage)
	select {
	case <-begun:
	case <-step.Streams():
		t.Fatalf("the step ended before the copy began: %q", step.Wait().Errors)
	}
	stop(step)
	o := step.Wait()
	check(o)
	<-step.Streams() // every process that node started has gone
	if left := running(t, program(env.task), env.folder); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
	mark := env.cloud.Mark()
	if got := env.dev.Tags(cart); len(got) != 0 {
		t.Errorf("tags at the target after the stop: %q", got)
	}
	restore()
	if later := env.cloud.Since(mark); len(later) != 0 {
		t.Errorf("requests after the end: %v", later)
	}
	again := env.pushDown(stage).Wait()
	env.hold(again)
	want(t, again, "Succeeded")
	if got := env.dev.TagDigest(cart, "1.4.2"); got != digest {
		t.Errorf("after the rerun the tag points at %q, want %s", got, digest)
	}
}

func TestCancelInTheMiddleOfALargeCopy(t *testing.T) {
	stopped(t, (*fakeagent.Step).Cancel, func(o fakeagent.Outcome) {
		want(t, o, "Canceled")
		if len(o.Signals) != 1 || o.Held {
			t.Errorf("it took %q (%v), and something held the streams: %v", o.Signals, o.AfterCancel, o.Held)
		}
		if o.ExitCode != 0 || len(o.Completions) != 1 || !strings.HasPrefix(o.Completions[0], "Canceled: ") {
			t.Errorf("exit code %d, completions %q", o.ExitCode, o.Completions)
		}
		t.Logf("ended %v after the cancellation", o.AfterCancel.Round(time.Millisecond))
	})
}

func TestKilledNodeLeavesNoOrphanCopying(t *testing.T) {
	stopped(t, (*fakeagent.Step).Kill, func(o fakeagent.Outcome) {
		want(t, o, "Failed")
		if o.Held {
			t.Error("the program outlived node by the time that an agent waits")
		}
	})
}
