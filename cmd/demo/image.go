package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"acrpromote/internal/testimage"
)

// Types of what is attached to the image.
const (
	sbomType      = "application/spdx+json"
	signatureType = "application/vnd.example.signature.v1+json"
	sealType      = "application/vnd.acrpromote.seal.v1+json"

	signatureKey = "com.example.signature" // annotation of the signed payload
	programPath  = "usr/bin/acrpromote"    // in the image
)

// image is an image with all that it is made of, in memory.
type image struct {
	root      testimage.Part
	children  []testimage.Part
	attached  []testimage.Part
	blobs     map[string][]byte
	binaries  []binary
	publicKey ed25519.PublicKey
}

// inMemory takes an image or an index apart.
func inMemory(root mutate.Appendable) *image {
	img := &image{blobs: map[string][]byte{}}
	manifests := img.add(root)
	last := len(manifests) - 1
	img.root, img.children = manifests[last], manifests[:last]
	return img
}

// add keeps the blobs of an image, and returns its manifests.
func (img *image) add(what mutate.Appendable) []testimage.Part {
	parts := testimage.PartsOf(what)
	for _, b := range parts.Blobs {
		img.blobs[testimage.Of(b).Digest] = testimage.Read(b)
	}
	return parts.Manifests
}

// buildImage makes a multi-arch image of the program, with its SBOM and a
// signature attached.
func buildImage(version string, binaries []binary) (*image, error) {
	users, err := testimage.Files(map[string][]byte{
		"etc/passwd": []byte("nonroot:x:65532:65532::/:/sbin/nologin\n"),
		"etc/group":  []byte("nonroot:x:65532:\n"),
	}, 0o644)
	if err != nil {
		return nil, err
	}
	packed, failures := make([]v1.Layer, len(binaries)), make([]error, len(binaries))
	var packing sync.WaitGroup
	for i, b := range binaries {
		packing.Go(func() {
			packed[i], failures[i] = testimage.Files(map[string][]byte{programPath: b.content}, 0o755)
		})
	}
	packing.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	var children []mutate.Appendable
	for i, b := range binaries {
		children = append(children, platformImage(version, b.platform, users, packed[i]))
	}
	img := inMemory(testimage.Index(children...))
	img.binaries = binaries
	img.attach(sbomType, spdx(version, binaries, time.Now()), nil)
	return img, img.sign()
}

// platformImage is the image of one platform, as a container engine would run
// it.
func platformImage(version string, p platform, layers ...v1.Layer) v1.Image {
	return testimage.Configured(v1.ConfigFile{
		OS: p.os, Architecture: p.architecture,
		Config: v1.Config{
			Entrypoint: []string{"/" + programPath}, User: "65532:65532", WorkingDir: "/",
			Labels: map[string]string{"org.opencontainers.image.title": "acrpromote", "org.opencontainers.image.version": version},
		},
	}, layers...)
}

// attach adds an artifact that refers to the image.
func (img *image) attach(artifactType string, body []byte, annotations map[string]string) {
	artifact := testimage.Artifact(artifactType, img.root.Descriptor, body, annotations)
	img.attached = append(img.attached, img.add(artifact)...)
}

// sign attaches a real signature over the image's digest.
func (img *image) sign() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	img.publicKey = public
	payload := encode(map[string]any{"critical": map[string]any{
		"type": "example signature", "image": map[string]string{"docker-manifest-digest": img.root.Digest},
	}})
	signature := base64.StdEncoding.EncodeToString(ed25519.Sign(private, payload))
	img.attach(signatureType, payload, map[string]string{signatureKey: signature})
	return nil
}

// plainImage is a small image of one platform: somebody else's.
func plainImage(name string) (*image, error) {
	content, err := testimage.Files(map[string][]byte{"etc/motd": []byte(name + "\n")}, 0o644)
	if err != nil {
		return nil, err
	}
	return inMemory(platformImage(name, platforms[0], content)), nil
}

// bytes counts the distinct blobs and manifests.
func (img *image) bytes() int64 {
	total := len(img.root.Content)
	for _, m := range slices.Concat(img.children, img.attached) {
		total += len(m.Content)
	}
	for _, b := range img.blobs {
		total += len(b)
	}
	return int64(total)
}

func encode(v any) []byte {
	content, err := json.Marshal(v)
	if err != nil {
		panic(err) // every value is of this package's own making
	}
	return content
}

// fileIn takes one file out of a packed layer.
func fileIn(packed []byte, path string) ([]byte, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	archive := tar.NewReader(zipped)
	for {
		header, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("%s is not in the layer: %w", path, err)
		}
		if header.Name == path {
			return io.ReadAll(archive)
		}
	}
}
