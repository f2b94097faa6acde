package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// platforms are those that the image is built for.
var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}}

type platform struct{ os, architecture string }

func (p platform) String() string { return p.os + "/" + p.architecture }

// binary is the program built for one platform.
type binary struct {
	platform platform
	content  []byte
	info     *buildinfo.BuildInfo
}

// compile is the program for each platform of the image. For the platform
// that the running program was built for it is that very file; the others are
// built from the same source.
func compile(ctx context.Context, p *program, scratch string, screen *screen) ([]binary, error) {
	binaries := make([]binary, len(platforms))
	failures := make([]error, len(platforms))
	began := time.Now()
	var building sync.WaitGroup
	for i, wanted := range platforms {
		if wanted == p.platform {
			binaries[i], failures[i] = readBinary(wanted, p.path)
			continue
		}
		screen.waiting(fmt.Sprintf("building the image: acrpromote for %s (the first time takes a minute)", wanted))
		building.Go(func() {
			path := filepath.Join(scratch, wanted.os+"-"+wanted.architecture)
			if failures[i] = build(ctx, wanted, p, path); failures[i] == nil {
				binaries[i], failures[i] = readBinary(wanted, path)
			}
		})
	}
	building.Wait()
	screen.waited(time.Since(began))
	return binaries, errors.Join(failures...)
}

// build compiles the program as it ships.
func build(ctx context.Context, target platform, p *program, output string) error {
	root, err := moduleRoot(p.path)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "nethttpomithttp2",
		"-ldflags", "-s -w -X main.version="+p.version, "-o", output, "./cmd/acrpromote")
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+target.os, "GOARCH="+target.architecture)
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building acrpromote for %s in %s: %w\n%s\nThe demo needs Go on the PATH", target, root, err, bytes.TrimSpace(said))
	}
	return nil
}

var moduleLine = regexp.MustCompile(`(?m)^module acrpromote\s*$`)

// moduleRoot looks for the source upwards from the working folder, then from
// the program's own.
func moduleRoot(program string) (string, error) {
	var starts []string
	for _, path := range []string{".", filepath.Dir(program)} {
		start, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		starts = append(starts, start)
		for dir := start; ; dir = filepath.Dir(dir) {
			if content, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && moduleLine.Match(content) {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", fmt.Errorf("the program's source was not found above %s or %s: run ./build.sh demo in its folder", starts[0], starts[1])
}

func readBinary(p platform, path string) (binary, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return binary{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return binary{}, fmt.Errorf("reading what %s was built from: %w", path, err)
	}
	return binary{p, content, info}, nil
}

// builtFor is the platform that acrpromote was built for. What is not
// acrpromote by its own build information is never started.
func builtFor(path string) (platform, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return platform{}, fmt.Errorf("reading what %s was built from: %w", path, err)
	}
	if info.Path != "acrpromote/cmd/acrpromote" {
		return platform{}, fmt.Errorf("%s is not acrpromote: it was built from %s", path, info.Path)
	}
	var p platform
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS":
			p.os = s.Value
		case "GOARCH":
			p.architecture = s.Value
		}
	}
	return p, nil
}
