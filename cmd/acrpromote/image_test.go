package main_test

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"acrpromote/internal/testimage"
)

type descriptor = testimage.Descriptor

// layer is the layer at index i of the image of a seed.
func layer(seed, i, size int) v1.Layer {
	return testimage.Layer(fmt.Sprintf("%d/%d", seed, i), int64(size))
}

func image(architecture string, seed, layers, size int) v1.Image {
	var all []v1.Layer
	for i := range layers {
		all = append(all, layer(seed, i, size))
	}
	return testimage.Image(architecture, all...)
}

// child is one of the two images in the index of a seed.
func child(seed, i int) v1.Image {
	return image([]string{"amd64", "arm64"}[i], seed*10+i, 2, 4096)
}

// childLayer is the first layer of the first child of the index of seed 1, as
// most tests push it.
func childLayer() string { return testimage.Of(layer(10, 0, 4096)).Digest }

// pushImage pushes an image with some layers under a tag ("" for none) and returns
// its descriptor.
func pushImage(s testimage.Store, repository, tag string, seed, layers, size int) descriptor {
	return testimage.Put(s, repository, tag, image("amd64", seed, layers, size))
}

// pushIndex pushes an index of two platforms.
func pushIndex(s testimage.Store, repository, tag string, seed int) descriptor {
	return testimage.Put(s, repository, tag, testimage.Index(child(seed, 0), child(seed, 1)))
}
