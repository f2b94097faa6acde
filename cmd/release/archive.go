package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// file is one entry of an archive; a name that ends with / is a folder.
type file struct {
	name    string
	mode    int64
	content []byte
}

// archives makes an archive for each platform: .tar.gz, for Windows .zip.
func (r release) archives(out string) error {
	for _, p := range platforms {
		files, err := r.files(p)
		if err != nil {
			return err
		}
		name, pack := r.name(p)+".tar.gz", tarGzip
		if p.os == "windows" {
			name, pack = r.name(p)+".zip", zipped
		}
		var archive bytes.Buffer
		if err := pack(&archive, files, r.time); err != nil {
			return fmt.Errorf("packing %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(out, name), archive.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (r release) name(p platform) string { return "acrpromote-" + r.version + "-" + p.String() }

// files returns the content of a platform's archive.
func (r release) files(p platform) ([]file, error) {
	folder := r.name(p)
	var files []file
	for _, from := range []struct {
		path, name string
		mode       int64
	}{
		{filepath.Join(r.bin, p.String(), p.program()), p.program(), 0o755},
		{filepath.Join(r.root, "LICENSE"), "LICENSE", 0o644},
		{filepath.Join(r.root, "CHANGELOG.md"), "CHANGELOG.md", 0o644},
		{filepath.Join(r.bills, p.String()+".cdx.json"), "acrpromote.cdx.json", 0o644},
	} {
		content, err := os.ReadFile(from.path)
		if err != nil {
			return nil, fmt.Errorf("packing %s: %w", folder, err)
		}
		files = append(files, file{path.Join(folder, from.name), from.mode, content})
	}
	for _, shell := range r.shells() {
		files = append(files, file{path.Join(folder, "completion", completionFile[shell]), 0o644, r.completions[shell]})
	}
	return files, nil
}

// completionFile has the name of each shell's completion script, as the shell
// looks for it.
var completionFile = map[string]string{"bash": "acrpromote", "zsh": "_acrpromote", "fish": "acrpromote.fish", "powershell": "acrpromote.ps1"}

func (r release) shells() []string {
	var shells []string
	for shell := range r.completions {
		shells = append(shells, shell)
	}
	slices.Sort(shells)
	return shells
}

// completions asks the program for its completion scripts.
func completions(ctx context.Context, program string) (map[string][]byte, error) {
	scripts := map[string][]byte{}
	for shell := range completionFile {
		script, err := exec.CommandContext(ctx, program, "completion", shell).Output()
		if err != nil {
			return nil, fmt.Errorf("%s completion %s: %w", program, shell, err)
		}
		scripts[shell] = script
	}
	return scripts, nil
}

func tarGzip(w io.Writer, files []file, at time.Time) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := writeTar(z, files, at); err != nil {
		return err
	}
	return z.Close()
}

// writeTar writes a tar archive whose entries belong to root.
func writeTar(w io.Writer, files []file, at time.Time) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: at, Format: tar.FormatUSTAR}
		if f.name[len(f.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(f.content); err != nil {
			return err
		}
	}
	return t.Close()
}

func zipped(w io.Writer, files []file, at time.Time) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: at}
		h.SetMode(os.FileMode(f.mode))
		entry, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.content); err != nil {
			return err
		}
	}
	return z.Close()
}
