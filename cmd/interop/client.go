package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// image is a tag in a registry.
type image struct{ host, repository, tag string }

func (i image) String() string { return i.host + "/" + i.repository + ":" + i.tag }

// at returns the same repository with another tag.
func (i image) at(tag string) image { i.tag = tag; return i }

// clients calls programs in a home of their own, without the user's settings.
type clients struct {
	ctx      context.Context
	home     string
	programs map[string]*string
}

func newClients(ctx context.Context, home string, programs map[string]*string) (*clients, error) {
	// skopeo requires a file of credentials to exist if it is named, and its default
	// is outside the home.
	return &clients{ctx, home, programs}, os.WriteFile(filepath.Join(home, "config.json"), []byte("{}"), 0o600)
}

// run returns the standard output of a program.
func (c *clients) run(program string, args ...string) (string, error) {
	return c.runWith(nil, program, args...)
}

func (c *clients) runWith(input io.Reader, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.ctx, 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, *c.programs[program], args...)
	command.Dir = c.home
	command.Env = []string{
		"HOME=" + c.home, "TMPDIR=" + c.home, "PATH=" + os.Getenv("PATH"), "DOCKER_CONFIG=" + c.home,
		"REGISTRY_AUTH_FILE=" + filepath.Join(c.home, "config.json"), "COSIGN_PASSWORD=interop",
	}
	var out, said bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = input, &out, &said
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(out.String()+"\n"+said.String()))
	}
	return out.String(), nil
}

// regctl calls regctl for plain HTTP.
func (c *clients) regctl(i image, args ...string) (string, error) {
	return c.run("regctl", append(args, "--host", "reg="+i.host+",tls=disabled")...)
}

func (c *clients) file(name string) string { return filepath.Join(c.home, name) }

// folder returns a new folder below the home.
func (c *clients) folder() (string, error) { return os.MkdirTemp(c.home, "folder-") }

// digest returns the digest of a content.
func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// files returns a line for each file below a folder, with mode and digest.
func files(folder string) (string, error) {
	var lines strings.Builder
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s %s %s\n", filepath.ToSlash(name), info.Mode(), digest(content))
		return nil
	})
	return lines.String(), err
}

// digests returns the digests that the document of oras discover has, one a line, in
// order: registries list in any order.
func digests(document string) (string, error) {
	var value any
	if err := json.Unmarshal([]byte(document), &value); err != nil {
		return "", err
	}
	var all []string
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case []any:
			for _, one := range v {
				walk(one)
			}
		case map[string]any:
			if d, ok := v["digest"].(string); ok {
				all = append(all, d)
			}
			for _, name := range []string{"manifests", "referrers"} {
				walk(v[name])
			}
		}
	}
	walk(value)
	slices.Sort(all)
	return strings.Join(all, "\n"), nil
}
