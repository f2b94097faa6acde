package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// packagePaths has the path of each shell's completion script in a Linux package.
var packagePaths = map[string]string{
	"bash": "/usr/share/bash-completion/completions/acrpromote",
	"zsh":  "/usr/share/zsh/vendor-completions/_acrpromote",
	"fish": "/usr/share/fish/vendor_completions.d/acrpromote.fish",
}

// packages makes the Debian and RPM packages of the Linux programs by nfpm.
func (r release) packages(ctx context.Context, nfpm, out string) error {
	stage, err := os.MkdirTemp("", "acrpromote-packages-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	for _, p := range platforms {
		if p.os != "linux" {
			continue
		}
		config, err := r.nfpm(p, stage)
		if err != nil {
			return err
		}
		for _, kind := range []string{"deb", "rpm"} {
			command := exec.CommandContext(ctx, nfpm, "package", "--config", config, "--packager", kind, "--target", out)
			// nfpm takes the build time of an RPM package from here.
			command.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.FormatInt(r.time.Unix(), 10))
			if said, err := command.CombinedOutput(); err != nil {
				return fmt.Errorf("nfpm, %s of %s: %w\n%s", kind, p, err, bytes.TrimSpace(said))
			}
		}
	}
	return nil
}

// nfpm writes nfpm's configuration for a platform and returns its path. JSON is
// also YAML.
func (r release) nfpm(p platform, stage string) (string, error) {
	type info struct {
		Mode  int       `json:"mode"`
		MTime time.Time `json:"mtime"`
	}
	type content struct {
		Src  string `json:"src"`
		Dst  string `json:"dst"`
		Info info   `json:"file_info"`
	}
	absolute := func(path string) string {
		if full, err := filepath.Abs(path); err == nil {
			return full
		}
		return path
	}
	contents := []content{
		{absolute(filepath.Join(r.bin, p.String(), p.program())), "/usr/bin/acrpromote", info{0o755, r.time}},
		{absolute(filepath.Join(r.root, "LICENSE")), "/usr/share/doc/acrpromote/copyright", info{0o644, r.time}},
		{absolute(filepath.Join(r.root, "CHANGELOG.md")), "/usr/share/doc/acrpromote/CHANGELOG.md", info{0o644, r.time}},
		{absolute(filepath.Join(r.bills, p.String()+".cdx.json")), "/usr/share/doc/acrpromote/acrpromote.cdx.json", info{0o644, r.time}},
	}
	for _, shell := range r.shells() {
		if packagePaths[shell] == "" {
			continue
		}
		script := filepath.Join(stage, "completion."+shell)
		if err := os.WriteFile(script, r.completions[shell], 0o644); err != nil {
			return "", err
		}
		contents = append(contents, content{script, packagePaths[shell], info{0o644, r.time}})
	}
	config, err := json.MarshalIndent(map[string]any{
		"name": "acrpromote", "arch": p.architecture, "platform": "linux", "version": r.version, "release": "1",
		"section": "utils", "priority": "optional", "maintainer": "the acrpromote authors", "license": "MIT", "mtime": r.time,
		"description": "promotes container images between registries, after an approval\n" + description,
		"recommends":  []string{"ca-certificates"},
		"contents":    contents,
		"rpm":         map[string]any{"summary": "promotes container images between registries, after an approval", "buildhost": "localhost"},
	}, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(stage, p.String()+".yaml")
	return path, os.WriteFile(path, config, 0o644)
}
