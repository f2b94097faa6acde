package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// packed returns a release of stand-ins for the programs, and the folder that it
// was written to.
func packed(t *testing.T, at time.Time) (release, string) {
	t.Helper()
	in, out := t.TempDir(), t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(in, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range platforms {
		write("bin/"+p.String()+"/"+p.program(), "the program for "+p.String())
		write("bills/"+p.String()+".cdx.json", "{}")
	}
	write("LICENSE", "a license")
	write("CHANGELOG.md", "changes")
	r := release{version: "1.2.3", bin: filepath.Join(in, "bin"), root: in, bills: filepath.Join(in, "bills"), time: at,
		completions: map[string][]byte{"bash": []byte("complete"), "powershell": []byte("Register-ArgumentCompleter")}}
	for _, err := range []error{r.archives(out), r.image(out), checksums(out)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return r, out
}

func TestReleaseIsReproducible(t *testing.T) {
	_, first := packed(t, epoch)
	_, second := packed(t, epoch)
	_, later := packed(t, epoch.AddDate(40, 0, 0))
	read := func(folder string) string {
		content, err := os.ReadFile(filepath.Join(folder, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	if read(first) != read(second) {
		t.Errorf("two releases differ:\n%s\n%s", read(first), read(second))
	}
	if read(first) == read(later) {
		t.Error("SOURCE_DATE_EPOCH changes nothing")
	}
	if lines := strings.Count(read(first), "\n"); lines != len(platforms)+1 {
		t.Errorf("SHA256SUMS has %d lines, expected one for each of %d archives and the image", lines, len(platforms))
	}
}

func TestArchives(t *testing.T) {
	r, out := packed(t, epoch)
	for _, p := range platforms {
		folder := r.name(p)
		contents := map[string]string{}
		if p.os == "windows" {
			archive, err := zip.OpenReader(filepath.Join(out, folder+".zip"))
			if err != nil {
				t.Fatal(err)
			}
			defer archive.Close()
			for _, f := range archive.File {
				opened, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				contents[f.Name] = readAll(t, opened)
			}
		} else {
			for name, f := range untar(t, filepath.Join(out, folder+".tar.gz"), true) {
				contents[name] = string(f.content)
				if strings.HasSuffix(name, "/acrpromote") && !strings.Contains(name, "completion") && f.mode != 0o755 {
					t.Errorf("%s has the mode %o", name, f.mode)
				}
			}
		}
		expected := map[string]string{
			p.program(): "the program for " + p.String(), "LICENSE": "a license", "CHANGELOG.md": "changes", "acrpromote.cdx.json": "{}",
			"completion/acrpromote": "complete", "completion/acrpromote.ps1": "Register-ArgumentCompleter",
		}
		for name, content := range expected {
			if contents[folder+"/"+name] != content {
				t.Errorf("%s: %s is %q", folder, name, contents[folder+"/"+name])
			}
		}
		if len(contents) != len(expected) {
			t.Errorf("%s has %d files, expected %d", folder, len(contents), len(expected))
		}
	}
}

func TestImageLayout(t *testing.T) {
	r, out := packed(t, epoch)
	folder := t.TempDir()
	for name, f := range untar(t, filepath.Join(out, "acrpromote-1.2.3-oci.tar"), false) {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	top, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != r.version {
		t.Fatalf("the layout has %v", top.Manifests)
	}
	index, err := root.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, d := range manifest.Manifests {
		found = append(found, d.Platform.String())
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, image, d.Platform)
	}
	if !slices.Equal(found, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("the image is for %v", found)
	}
}

func checkImage(t *testing.T, image v1.Image, p *v1.Platform) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != p.OS || config.Architecture != p.Architecture {
		t.Errorf("the image for %s says %s/%s", p, config.OS, config.Architecture)
	}
	if user, _, _ := strings.Cut(config.Config.User, ":"); user == "" || user == "0" || user == "root" {
		t.Errorf("%s: the program runs as %q", p, config.Config.User)
	}
	if config.Config.Labels["org.opencontainers.image.version"] != "1.2.3" {
		t.Errorf("%s: the labels are %v", p, config.Config.Labels)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	files := readTar(t, content)
	program := files[strings.TrimPrefix(config.Config.Entrypoint[0], "/")]
	if string(program.content) != "the program for "+p.OS+"-"+p.Architecture || program.mode != 0o755 {
		t.Errorf("%s: %s is %q with the mode %o", p, config.Config.Entrypoint[0], program.content, program.mode)
	}
	if files["tmp/"].mode != 0o1777 {
		t.Errorf("%s: /tmp has the mode %o", p, files["tmp/"].mode)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"].content) {
		t.Errorf("%s: no certificate authorities", p)
	}
}

func TestSourceDate(t *testing.T) {
	for in, expected := range map[string]time.Time{"": epoch, "1767225600": time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if at, err := sourceDate(in); err != nil || !at.Equal(expected) {
			t.Errorf("%q: %s, %v", in, at, err)
		}
	}
	for _, in := range []string{"yesterday", "-1", "0", "1.5", "2026-01-01"} {
		if at, err := sourceDate(in); err == nil {
			t.Errorf("%q is taken as %s", in, at)
		}
	}
}

func TestMissingProgram(t *testing.T) {
	r, _ := packed(t, epoch)
	if err := os.Remove(filepath.Join(r.bin, "linux-arm64", "acrpromote")); err != nil {
		t.Fatal(err)
	}
	for name, pack := range map[string]func(string) error{"archives": r.archives, "image": r.image} {
		if err := pack(t.TempDir()); err == nil || !strings.Contains(err.Error(), "linux-arm64") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPackageConfiguration checks what nfpm is given: a package installs the
// program and the completion scripts.
func TestPackageConfiguration(t *testing.T) {
	r, _ := packed(t, epoch)
	stage := t.TempDir()
	path, err := r.nfpm(platform{"linux", "arm64"}, stage)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Arch, Version string
		Contents      []struct{ Src, Dst string }
	}
	if err := json.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	if config.Arch != "arm64" || config.Version != "1.2.3" {
		t.Errorf("the package is for %s, version %s", config.Arch, config.Version)
	}
	var installed []string
	for _, c := range config.Contents {
		installed = append(installed, c.Dst)
		if _, err := os.Stat(c.Src); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{"/usr/bin/acrpromote", "/usr/share/doc/acrpromote/copyright", packagePaths["bash"]} {
		if !slices.Contains(installed, path) {
			t.Errorf("%s is not installed, but %v", path, installed)
		}
	}
}

func untar(t *testing.T, path string, compressed bool) map[string]file {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(content)
	if compressed {
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	}
	return readTar(t, r)
}

func readTar(t *testing.T, r io.Reader) map[string]file {
	t.Helper()
	files := map[string]file{}
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		files[h.Name] = file{h.Name, h.Mode, []byte(readAll(t, archive))}
	}
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
