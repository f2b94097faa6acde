package run

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"acrpromote/internal/agent"
	"acrpromote/internal/defect"
	"acrpromote/internal/outcome"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
)

// run has phases run as Run does, and returns the outcome, result.json and what
// was printed.
func run(t *testing.T, ctx context.Context, debug bool, phases func(context.Context, *collector)) (outcome.Outcome, map[string]any, string) {
	t.Helper()
	folder := t.TempDir()
	c, err := agent.Read([]string{"invertedPush", "--source", "prod.azurecr.io/a:1", "--targets", "dev.azurecr.io", "--reportFolder", folder}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Debug = debug
	c.InPipeline = debug
	var stdout, stderr bytes.Buffer
	to := newReporter(c, &stdout, &stderr)
	end := supervise(ctx, c, "1.0.0", to, func(ctx context.Context, r *collector) (*session.Session, *order) {
		phases(ctx, r)
		return nil, nil
	})
	to.report(end)
	content, err := os.ReadFile(filepath.Join(folder, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	return end.result.Outcome, document, stdout.String() + stderr.String()
}

// broken panics with an index that the compiler cannot check.
func broken(list ...int) { _ = list[len(list)] }

// TestPanic checks that the run fails after a panic, with a result that says what to
// do, and with a stack trace only in debug mode.
func TestPanic(t *testing.T) {
	for name, phases := range map[string]func(context.Context, *collector){
		"in the phases": func(context.Context, *collector) { broken() },
		"in a goroutine that is waited for": func(ctx context.Context, _ *collector) {
			var group sync.WaitGroup
			group.Go(func() { defer defect.Catch(ctx); broken() })
			group.Wait()
		},
		"while another waits for it": func(ctx context.Context, _ *collector) {
			ready := make(chan struct{})
			go func() { defer defect.Catch(ctx); broken(); close(ready) }()
			select {
			case <-ready:
			case <-ctx.Done():
			}
		},
		"after something was found": func(_ context.Context, r *collector) {
			r.result.Images = []report.Image{{Source: "prod.azurecr.io/a:1", Targets: []report.Target{{Registry: "dev.azurecr.io", State: outcome.Copied}}}}
			r.unexecuted = true
			broken()
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, debug := range []bool{false, true} {
				ended, document, printed := run(t, t.Context(), debug, phases)
				if ended != outcome.Failed || document["outcome"] != "failed" {
					t.Errorf("ended as %s, result.json says %v", ended, document["outcome"])
				}
				problems := document["errors"].([]any)
				if text := problems[len(problems)-1].(map[string]any); len(problems) != 1 || !strings.Contains(text["reason"].(string), "index out of range") || !strings.Contains(text["remedy"].(string), "Report this as a bug") {
					t.Errorf("errors %v", problems)
				}
				if traced := strings.Contains(printed, "defect_test.go"); traced != debug {
					t.Errorf("a stack trace is printed: %v, debug %v\n%s", traced, debug, printed)
				}
			}
		})
	}
}

// TestPanicAfterRefusal checks that nothing is written after a refusal and a panic.
func TestPanicAfterRefusal(t *testing.T) {
	ended, document, _ := run(t, t.Context(), false, func(_ context.Context, r *collector) {
		r.result.Refusals = []rule.Refusal{{Rule: rule.NotSealed, Subject: "a", Reason: "b", Remedy: "c"}}
		broken()
	})
	if ended != outcome.Refused || len(document["errors"].([]any)) != 1 {
		t.Errorf("ended as %s with the errors %v", ended, document["errors"])
	}
}

// TestCancelWithoutPanic checks that a cancelled run is not abandoned.
func TestCancelWithoutPanic(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended, _, _ := run(t, ctx, false, func(ctx context.Context, r *collector) {
		cancel()
		<-ctx.Done()
		r.unexecuted = true
	})
	if ended != outcome.Cancelled {
		t.Errorf("ended as %s", ended)
	}
}
