package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"acrpromote/internal/testimage"
)

// image is one that is in the source registry.
type image struct {
	repository, tag string
	root            string
	bytes           int64    // of its distinct blobs
	manifests       []string // digests of all, what is attached included
	attached        []string // of these, what is attached
	blobs           []string
	tags            map[string]string // further tags that belong to it, and their digests
}

func (i image) source() string { return i.repository + ":" + i.tag }

// add notes what a manifest brings along.
func (i *image) add(what mutate.Appendable) {
	parts := testimage.PartsOf(what)
	for _, m := range parts.Manifests {
		i.manifests = append(i.manifests, m.Digest)
	}
	for _, b := range parts.Blobs {
		if d := testimage.Of(b); !slices.Contains(i.blobs, d.Digest) {
			i.blobs = append(i.blobs, d.Digest)
			i.bytes += d.Size
		}
	}
}

// seeder pushes images to a registry, past the proxies. Their contents are the
// same in every run, and no compression or cache can shorten them.
type seeder struct {
	address, name string
	layers        int // made so far: no two are alike
}

func newSeeder(address, name string) *seeder { return &seeder{address: address, name: name} }

func (s *seeder) layer(size int64) v1.Layer {
	s.layers++
	return testimage.Layer(fmt.Sprintf("%s/%d", s.name, s.layers), size)
}

// platform makes an image of layers with these sizes, on top of shared ones.
func (s *seeder) platform(architecture string, shared []v1.Layer, sizes ...int64) v1.Image {
	layers := slices.Clone(shared)
	for _, size := range sizes {
		layers = append(layers, s.layer(size))
	}
	return testimage.Image(architecture, layers...)
}

func (s *seeder) artifact(subject mutate.Appendable, artifactType string, size int64) v1.Image {
	return testimage.ArtifactOf(artifactType, testimage.Of(subject), s.layer(size), nil)
}

// push brings an image or an index into the registry, under a tag or, where
// that is "", by its digest. What refers to another manifest is also listed
// under that one's fallback tag: these registries have no referrers API.
func (s *seeder) push(ctx context.Context, i *image, tag string, what mutate.Appendable) error {
	repository, err := name.NewRepository(s.address + "/" + i.repository)
	if err != nil {
		return err
	}
	var reference name.Reference = repository.Tag(tag)
	if tag == "" {
		reference = repository.Digest(testimage.Of(what).Digest)
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(direct.Transport)}
	if index, ok := what.(v1.ImageIndex); ok {
		err = remote.WriteIndex(reference, index, options...)
	} else {
		err = remote.Write(reference, what.(v1.Image), options...)
	}
	if err != nil {
		return fmt.Errorf("pushing %s to %s: %w", reference, s.address, err)
	}
	i.add(what)
	return nil
}

// pushRoot pushes what the image's own tag points at.
func (s *seeder) pushRoot(ctx context.Context, i *image, what mutate.Appendable) error {
	i.root = testimage.Of(what).Digest
	return s.push(ctx, i, i.tag, what)
}

// attach pushes an artifact that refers to another manifest.
func (s *seeder) attach(ctx context.Context, i *image, what v1.Image) error {
	i.attached = append(i.attached, testimage.Of(what).Digest)
	return s.push(ctx, i, "", what)
}
