package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Media types of OCI images, and of what is attached to this one.
const (
	indexType     = "application/vnd.oci.image.index.v1+json"
	manifestType  = "application/vnd.oci.image.manifest.v1+json"
	configType    = "application/vnd.oci.image.config.v1+json"
	layerType     = "application/vnd.oci.image.layer.v1.tar+gzip"
	emptyType     = "application/vnd.oci.empty.v1+json"
	sbomType      = "application/spdx+json"
	signatureType = "application/vnd.example.signature.v1+json"
	sealType      = "application/vnd.acrpromote.seal.v1+json"

	signatureKey = "com.example.signature" // annotation of the signed payload
	programPath  = "usr/bin/acrpromote"    // in the image
)

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int               `json:"size"`
	Platform     map[string]string `json:"platform,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// document is an image manifest, an index or an artifact manifest.
type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	ArtifactType  string       `json:"artifactType,omitempty"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
	Subject       *descriptor  `json:"subject,omitempty"`
}

// manifest is one as it is stored.
type manifest struct {
	mediaType string
	content   []byte
}

func (m manifest) digest() string { return digestOf(m.content) }

// image is an image with all that it is made of, in memory.
type image struct {
	root      manifest
	children  []manifest
	attached  []manifest
	blobs     map[string][]byte
	binaries  []binary
	publicKey ed25519.PublicKey
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// buildImage makes a multi-arch image of the program, with its SBOM and a
// signature attached.
func buildImage(version string, binaries []binary) (*image, error) {
	users, usersID, err := layer(map[string][]byte{
		"etc/passwd": []byte("nonroot:x:65532:65532::/:/sbin/nologin\n"),
		"etc/group":  []byte("nonroot:x:65532:\n"),
	}, 0o644)
	if err != nil {
		return nil, err
	}
	img := &image{blobs: map[string][]byte{}, binaries: binaries}
	packed, ids := make([][]byte, len(binaries)), make([]string, len(binaries))
	failures := make([]error, len(binaries))
	var packing sync.WaitGroup
	for i, b := range binaries {
		packing.Go(func() {
			packed[i], ids[i], failures[i] = layer(map[string][]byte{programPath: b.content}, 0o755)
		})
	}
	packing.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	index := document{SchemaVersion: 2, MediaType: indexType}
	for i, b := range binaries {
		child := img.platformImage(version, b.platform, [][]byte{users, packed[i]}, []string{usersID, ids[i]})
		img.children = append(img.children, child)
		d := describe(manifestType, child.content)
		d.Platform = map[string]string{"os": b.platform.os, "architecture": b.platform.architecture}
		index.Manifests = append(index.Manifests, d)
	}
	img.root = manifest{indexType, encode(index)}
	img.attach(sbomType, spdx(version, binaries, time.Now()), nil)
	return img, img.sign()
}

// platformImage is the manifest of one platform, with a config that a
// container engine would run.
func (img *image) platformImage(version string, p platform, layers [][]byte, diffIDs []string) manifest {
	config := encode(map[string]any{
		"os": p.os, "architecture": p.architecture, "created": "1970-01-01T00:00:00Z",
		"config": map[string]any{
			"Entrypoint": []string{"/" + programPath}, "User": "65532:65532", "WorkingDir": "/",
			"Labels": map[string]string{"org.opencontainers.image.title": "acrpromote", "org.opencontainers.image.version": version},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	d := img.add(configType, config)
	m := document{SchemaVersion: 2, MediaType: manifestType, Config: &d}
	for _, l := range layers {
		m.Layers = append(m.Layers, img.add(layerType, l))
	}
	return manifest{manifestType, encode(m)}
}

// attach adds an artifact that refers to the image.
func (img *image) attach(artifactType string, body []byte, annotations map[string]string) {
	config, subject := img.add(emptyType, []byte("{}")), describe(img.root.mediaType, img.root.content)
	content := img.add(artifactType, body)
	content.Annotations = annotations
	img.attached = append(img.attached, manifest{manifestType, encode(document{
		SchemaVersion: 2, MediaType: manifestType, ArtifactType: artifactType,
		Config: &config, Layers: []descriptor{content}, Subject: &subject,
	})})
}

// sign attaches a real signature over the image's digest.
func (img *image) sign() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	img.publicKey = public
	payload := encode(map[string]any{"critical": map[string]any{
		"type": "example signature", "image": map[string]string{"docker-manifest-digest": img.root.digest()},
	}})
	signature := base64.StdEncoding.EncodeToString(ed25519.Sign(private, payload))
	img.attach(signatureType, payload, map[string]string{signatureKey: signature})
	return nil
}

// plainImage is a small image of one platform: somebody else's.
func plainImage(name string) (*image, error) {
	content, id, err := layer(map[string][]byte{"etc/motd": []byte(name + "\n")}, 0o644)
	if err != nil {
		return nil, err
	}
	img := &image{blobs: map[string][]byte{}}
	img.root = img.platformImage(name, platforms[0], [][]byte{content}, []string{id})
	return img, nil
}

func (img *image) add(mediaType string, content []byte) descriptor {
	d := describe(mediaType, content)
	img.blobs[d.Digest] = content
	return d
}

// bytes counts the distinct blobs and manifests.
func (img *image) bytes() int64 {
	total := len(img.root.content)
	for _, m := range slices.Concat(img.children, img.attached) {
		total += len(m.content)
	}
	for _, b := range img.blobs {
		total += len(b)
	}
	return int64(total)
}

func describe(mediaType string, content []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digestOf(content), Size: len(content)}
}

func encode(v any) []byte {
	content, err := json.Marshal(v)
	if err != nil {
		panic(err) // every value is of this package's own making
	}
	return content
}

// layer packs files as a tar.gz, and tells the digest of the tar within.
func layer(files map[string][]byte, mode int64) (packed []byte, diffID string, err error) {
	var out bytes.Buffer
	inner := sha256.New()
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(io.MultiWriter(zipped, inner))
	for _, path := range sorted(files) {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: mode, Size: int64(len(files[path])), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return nil, "", err
		}
		if _, err := archive.Write(files[path]); err != nil {
			return nil, "", err
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		return nil, "", err
	}
	return out.Bytes(), "sha256:" + hex.EncodeToString(inner.Sum(nil)), nil
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
