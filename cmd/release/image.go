package main

import (
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const description = "It promotes images between registries by digest, after their approval in Azure Pipelines, and pushes approved images down to the registries of development teams."

// The user in the image.
const (
	userID = "65532"
	home   = "/home/nonroot"
)

// image writes the OCI image layout of the Linux programs, as one archive. Its
// files are those of https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md.
func (r release) image(out string) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range platforms {
		if p.os != "linux" {
			continue
		}
		image, err := r.imageOf(p)
		if err != nil {
			return fmt.Errorf("making the image for %s: %w", p, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: p.os, Architecture: p.architecture},
		}})
	}
	index = mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	folder, err := os.MkdirTemp("", "acrpromote-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	root, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	if err := root.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": r.version})); err != nil {
		return err
	}
	files, err := readFolder(folder)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := writeTar(&archive, files, r.time); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "acrpromote-"+r.version+"-oci.tar"), archive.Bytes(), 0o644)
}

// imageOf returns the image for one platform: the program, the certificate
// authorities that Mozilla trusts, a user and a folder for temporary files.
func (r release) imageOf(p platform) (v1.Image, error) {
	program, err := os.ReadFile(filepath.Join(r.bin, p.String(), p.program()))
	if err != nil {
		return nil, err
	}
	license, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	layer, err := layerOf([]file{
		{"etc/", 0o755, nil},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:" + userID + ":" + userID + ":nonroot:" + home + ":/sbin/nologin\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:" + userID + ":\n")},
		{"etc/ssl/", 0o755, nil},
		{"etc/ssl/certs/", 0o755, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, authorities()},
		{"home/", 0o755, nil},
		{"home/nonroot/", 0o755, nil},
		{"tmp/", 0o1777, nil},
		{"usr/", 0o755, nil},
		{"usr/bin/", 0o755, nil},
		{"usr/bin/acrpromote", 0o755, program},
		{"usr/share/", 0o755, nil},
		{"usr/share/doc/", 0o755, nil},
		{"usr/share/doc/acrpromote/", 0o755, nil},
		{"usr/share/doc/acrpromote/copyright", 0o644, license},
	}, r)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: r.time}, CreatedBy: "acrpromote release"}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = p.os, p.architecture, v1.Time{Time: r.time}
	config.Config = v1.Config{
		User: userID + ":" + userID, WorkingDir: home, Entrypoint: []string{"/usr/bin/acrpromote"},
		Env: []string{"PATH=/usr/bin", "HOME=" + home}, Labels: r.labels(),
	}
	return mutate.ConfigFile(image, config)
}

func (r release) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "acrpromote",
		"org.opencontainers.image.description": description,
		"org.opencontainers.image.version":     r.version,
		"org.opencontainers.image.licenses":    "MIT",
	}
}

func layerOf(files []file, r release) (v1.Layer, error) {
	var content bytes.Buffer
	if err := writeTar(&content, files, r.time); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression))
}

// authorities returns Mozilla's certificate authorities in PEM. Authorities that
// are trusted under conditions only, which a PEM file cannot express, are left out.
func authorities() []byte {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			panic(err) // a bytes.Buffer takes everything
		}
	}
	return roots.Bytes()
}

// readFolder returns the files below a folder by name, folders first.
func readFolder(folder string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			files = append(files, file{name + "/", 0o755, nil})
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, file{name, 0o644, content})
		return nil
	})
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, err
}
