package main

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"acrpromote/internal/testimage"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
)

// scenario is one thing to copy.
type scenario struct {
	key, name string
	referrers bool
	// secure tells that it is measured over TLS too where nobody asks for
	// anything else: for what encryption costs these three suffice.
	secure bool
	// least are the fewest requests that a copy to an empty target can do
	// with, and those of doing it again.
	least, leastAgain func(images []image) int
	build             func(ctx context.Context, s *seeder, repositories int) ([]image, error)
}

// plainLeast: for M manifests and B distinct blobs, a GET each at the source;
// at the target a HEAD, a POST and a PUT a blob, a PUT a manifest. A blob that
// is in another repository already takes one mount.
func plainLeast(images []image) int {
	n := 0
	known := map[string]bool{}
	for _, i := range images {
		n += 2*len(i.manifests) + 1
		for _, b := range i.blobs {
			if known[b] {
				n++
			} else {
				n += 3
			}
			known[b] = true
		}
	}
	return n
}

// plainAgain: the tag at either side, and a look for each child: that the root
// is there does not prove them.
func plainAgain(images []image) int {
	n := 0
	for _, i := range images {
		n += 1 + len(i.manifests)
	}
	return n
}

var scenarios = []scenario{
	{key: "a", name: "5 layers × 2 MiB", least: plainLeast, leastAgain: plainAgain, secure: true,
		build: single("a", same(5, 2*mib))},
	{key: "b", name: "12 layers, 250 MiB", least: plainLeast, leastAgain: plainAgain, secure: true,
		build: single("b", []int64{80 * mib, 50 * mib, 30 * mib, 25 * mib, 20 * mib, 15 * mib, 10 * mib, 8 * mib, 5 * mib, 4 * mib, 2 * mib, 1 * mib})},
	{key: "c", name: "4 platforms, 600 MiB", least: plainLeast, leastAgain: plainAgain, build: buildPlatforms},
	{key: "d", name: "one layer of 1.5 GiB", least: plainLeast, leastAgain: plainAgain, secure: true,
		build: single("d", []int64{1536 * mib})},
	{key: "e", name: "repositories that share 3 of 5 layers", least: plainLeast, leastAgain: plainAgain, build: buildFleet},
	{key: "f", name: "2 platforms, 5 referrers, 1 cosign tag", referrers: true, build: buildAttached,
		// Beside what plainLeast counts: at the source one look for the
		// referrers API, one list of tags, and a GET of each list of
		// referrers; at the target a GET and a PUT of each such list, and a
		// look at cosign's tag: somebody else's signatures may be there.
		least: func(images []image) int { return plainLeast(images) + 2 + 3*attachedLists + 1 },
		// Both tags of the image at both sides; at the source the API, the
		// tags and the lists; at the target the lists, children and referrers.
		leastAgain: func(images []image) int { return 4 + 2 + 2*attachedLists + 2 + 5 }},
}

// attachedLists is how many manifests of case f have something attached.
const attachedLists = 3

func same(n int, size int64) []int64 {
	sizes := make([]int64, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

func single(name string, sizes []int64) func(context.Context, *seeder, int) ([]image, error) {
	return func(ctx context.Context, s *seeder, _ int) ([]image, error) {
		i := image{repository: "shop/" + name, tag: "1.0"}
		err := s.pushRoot(ctx, &i, s.platform("amd64", nil, sizes...))
		return []image{i}, err
	}
}

// platforms makes an image for each architecture.
func (s *seeder) platforms(sizes []int64, architectures ...string) []mutate.Appendable {
	var children []mutate.Appendable
	for _, a := range architectures {
		children = append(children, s.platform(a, nil, sizes...))
	}
	return children
}

func buildPlatforms(ctx context.Context, s *seeder, _ int) ([]image, error) {
	i := image{repository: "shop/c", tag: "1.0"}
	children := s.platforms([]int64{60 * mib, 40 * mib, 25 * mib, 15 * mib, 8 * mib, 2 * mib}, "amd64", "arm64", "riscv64", "s390x")
	err := s.pushRoot(ctx, &i, testimage.Index(children...))
	return []image{i}, err
}

func buildFleet(ctx context.Context, s *seeder, repositories int) ([]image, error) {
	var images []image
	shared := []v1.Layer{s.layer(514 * kib), s.layer(514 * kib), s.layer(514 * kib)}
	for n := range repositories {
		i := image{repository: fmt.Sprintf("fleet/e%03d", n), tag: "1.0"}
		if err := s.pushRoot(ctx, &i, s.platform("amd64", shared, same(2, 68*kib)...)); err != nil {
			return nil, err
		}
		images = append(images, i)
	}
	return images, nil
}

func buildAttached(ctx context.Context, s *seeder, _ int) ([]image, error) {
	const signature, bom = "application/vnd.example.signature.v1+json", "application/spdx+json"
	i := image{repository: "shop/f", tag: "1.0"}
	children := s.platforms(same(2, 1000*kib), "amd64", "arm64")
	root := testimage.Index(children...)
	if err := s.pushRoot(ctx, &i, root); err != nil {
		return nil, err
	}
	for _, attach := range []struct {
		to    mutate.Appendable
		types []string
	}{{root, []string{signature, bom}}, {children[0], []string{signature, bom}}, {children[1], []string{bom}}} {
		for _, t := range attach.types {
			if err := s.attach(ctx, &i, s.artifact(attach.to, t, 20*kib)); err != nil {
				return nil, err
			}
		}
	}
	cosign := testimage.FallbackTag(i.root) + ".sig"
	signed := testimage.Signature(s.layer(1 * kib))
	digest := testimage.Of(signed).Digest
	i.attached = append(i.attached, digest)
	i.tags = map[string]string{cosign: digest}
	return []image{i}, s.push(ctx, &i, cosign, signed)
}
