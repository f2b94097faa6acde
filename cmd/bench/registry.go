package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// registry is one CNCF registry, as a process of its own that keeps its blobs
// in a folder.
type registry struct {
	address string
	folder  string
	process *exec.Cmd
	ended   chan struct{}
	log     string // a file
}

// startRegistry starts the program on a port that the system chose, and waits
// until it answers.
func startRegistry(ctx context.Context, program, folder string) (*registry, error) {
	var err error
	// Between the choice of a port and its use somebody else may take it.
	for range 3 {
		var r *registry
		if r, err = tryRegistry(ctx, program, folder); err == nil {
			return r, nil
		}
	}
	return nil, err
}

func tryRegistry(ctx context.Context, program, folder string) (*registry, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("no port for a registry: %w", err)
	}
	address := l.Addr().String()
	l.Close()
	own, err := os.MkdirTemp(folder, "registry-")
	if err != nil {
		return nil, err
	}
	// Whatever is before it, TLS or not: a location is a path.
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %q, maxthreads: 100}, delete: {enabled: true}}\nhttp: {addr: %q, relativeurls: true}\n",
		filepath.Join(own, "data"), address)
	file := filepath.Join(own, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(own, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r := &registry{address: address, folder: own, ended: make(chan struct{}), log: log.Name()}
	r.process = exec.Command(program, "serve", file)
	r.process.Env = []string{"HOME=" + own, "OTEL_TRACES_EXPORTER=none"}
	r.process.Stdout, r.process.Stderr = log, log
	if err := r.process.Start(); err != nil {
		return nil, fmt.Errorf("the registry %s does not start: %w", program, err)
	}
	go func() {
		r.process.Wait()
		close(r.ended)
	}()
	patience := time.After(20 * time.Second)
	for {
		resp, err := direct.Get("http://" + address + "/v2/")
		if err == nil {
			resp.Body.Close()
			return r, nil
		}
		select {
		case <-r.ended:
			said, _ := os.ReadFile(r.log)
			r.stop()
			return nil, fmt.Errorf("the registry ended at once: %s", last(string(said), 400))
		case <-patience:
			r.stop()
			return nil, fmt.Errorf("the registry does not answer at %s", address)
		case <-ctx.Done():
			r.stop()
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the process and removes its folder.
func (r *registry) stop() {
	r.process.Process.Kill()
	<-r.ended
	os.RemoveAll(r.folder)
}

// direct talks to registries past the proxies: seeding and checking are
// counted by nobody.
var direct = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 10 * time.Minute}

func last(text string, bytes int) string {
	if len(text) > bytes {
		return "…" + text[len(text)-bytes:]
	}
	return text
}
