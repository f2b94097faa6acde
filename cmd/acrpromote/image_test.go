package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
)

// store is where a test puts an image: the simulated registry's own shelf.
type store interface {
	PutBlob(repository string, content []byte) string
	Push(repository, tag, mediaType string, content []byte) string
}

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int               `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Platform     map[string]string `json:"platform,omitempty"`
}

func describe(mediaType string, content []byte) descriptor {
	sum := sha256.Sum256(content)
	return descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(content)}
}

// noise is content that differs by seed and does not compress.
func noise(seed, size int) []byte {
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	content := make([]byte, size)
	_, _ = source.Read(content)
	return content
}

// pushImage puts an image of some layers under a tag ("" for none) and returns
// its descriptor.
func pushImage(s store, repository, tag string, seed, layers, size int) descriptor {
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","seed":%d}`, seed)
	s.PutBlob(repository, config)
	manifest := map[string]any{"schemaVersion": 2, "mediaType": imageType, "config": describe("application/vnd.oci.image.config.v1+json", config)}
	var list []descriptor
	for i := range layers {
		layer := noise(seed*100+i, size)
		s.PutBlob(repository, layer)
		list = append(list, describe("application/vnd.oci.image.layer.v1.tar+gzip", layer))
	}
	manifest["layers"] = list
	content, _ := json.Marshal(manifest)
	s.Push(repository, tag, imageType, content)
	return describe(imageType, content)
}

// pushIndex puts an index over two platforms.
func pushIndex(s store, repository, tag string, seed int) descriptor {
	index := map[string]any{"schemaVersion": 2, "mediaType": indexType}
	var list []descriptor
	for i, arch := range []string{"amd64", "arm64"} {
		child := pushImage(s, repository, "", seed*10+i, 2, 4096)
		child.Platform = map[string]string{"os": "linux", "architecture": arch}
		list = append(list, child)
	}
	index["manifests"] = list
	content, _ := json.Marshal(index)
	s.Push(repository, tag, indexType, content)
	return describe(indexType, content)
}

// attach puts an artifact that refers to a manifest.
func attach(s store, repository string, subject descriptor, artifactType string, body []byte) descriptor {
	s.PutBlob(repository, []byte("{}"))
	s.PutBlob(repository, body)
	content, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": imageType, "artifactType": artifactType,
		"config":  describe("application/vnd.oci.empty.v1+json", []byte("{}")),
		"layers":  []descriptor{describe(artifactType, body)},
		"subject": descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	})
	s.Push(repository, "", imageType, content)
	d := describe(imageType, content)
	d.ArtifactType = artifactType
	return d
}

// list writes the fallback tag that names what refers to a manifest, as
// clients do where a registry does not keep that list itself.
func list(s store, repository string, subject descriptor, attached ...descriptor) {
	content, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": attached})
	s.Push(repository, strings.Replace(subject.Digest, ":", "-", 1), indexType, content)
}
