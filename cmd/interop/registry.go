package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// registryKind is a running registry.
type registryKind struct{ name, host string }

// startRegistries starts one registry of each kind. Each promotion goes from one to
// the next, the last one's to the first. The function ends all of them.
func startRegistries(ctx context.Context, folder, current, older string) ([]registryKind, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	stops := []func(){cancel}
	stopAll := func() {
		for _, stop := range stops {
			stop()
		}
	}
	var kinds []registryKind
	for _, kind := range []struct{ name, program string }{{"CNCF", current}, {"docker-registry", older}} {
		host, wait, err := startProgram(ctx, folder, kind.program)
		if err != nil {
			return nil, stopAll, fmt.Errorf("the registry %s: %w", kind.name, err)
		}
		kinds, stops = append(kinds, registryKind{kind.name, host}), append(stops, wait)
	}
	library := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	kinds, stops = append(kinds, registryKind{"go-containerregistry", strings.TrimPrefix(library.URL, "http://")}), append(stops, library.Close)
	return kinds, stopAll, nil
}

// startProgram starts a registry on a free port and waits until it answers. It ends
// with the context; wait returns after it has ended.
func startProgram(ctx context.Context, folder, program string) (host string, wait func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	host = listener.Addr().String()
	listener.Close()
	own, err := os.MkdirTemp(folder, "registry-")
	if err != nil {
		return "", nil, err
	}
	config := filepath.Join(own, "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n",
		filepath.Join(own, "data"), host), 0o600); err != nil {
		return "", nil, err
	}
	command := exec.CommandContext(ctx, program, "serve", config)
	command.Env = []string{"HOME=" + own, "OTEL_TRACES_EXPORTER=none"}
	if err := command.Start(); err != nil {
		return "", nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	for deadline := time.After(time.Minute); ; {
		if response, err := http.Get("http://" + host + "/v2/"); err == nil {
			response.Body.Close()
			return host, func() { <-ended }, nil
		}
		select {
		case <-ended:
			return "", nil, fmt.Errorf("%s ended", program)
		case <-deadline:
			return "", nil, fmt.Errorf("%s does not answer at %s", program, host)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
