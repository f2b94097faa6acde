package main

import (
	"context"
	"fmt"
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
	build             func(ctx context.Context, s *shelf, repositories int) ([]image, error)
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

func single(name string, sizes []int64) func(context.Context, *shelf, int) ([]image, error) {
	return func(ctx context.Context, s *shelf, _ int) ([]image, error) {
		i := image{repository: "shop/" + name, tag: "1.0"}
		d, err := s.platform(ctx, &i, i.tag, "amd64", nil, sizes)
		i.root = d.Digest
		return []image{i}, err
	}
}

// index puts the root over what was made, under the image's tag.
func (s *shelf) index(ctx context.Context, i *image, children []descriptor) (descriptor, error) {
	root, err := s.put(ctx, i.repository, i.tag, document{SchemaVersion: 2, MediaType: indexType, Manifests: children})
	i.root = root.Digest
	i.manifests = append(i.manifests, root.Digest)
	return root, err
}

func (s *shelf) platforms(ctx context.Context, i *image, sizes []int64, architectures ...string) ([]descriptor, error) {
	var children []descriptor
	for _, a := range architectures {
		child, err := s.platform(ctx, i, "", a, nil, sizes)
		if err != nil {
			return nil, err
		}
		child.Platform = map[string]string{"os": "linux", "architecture": a}
		children = append(children, child)
	}
	return children, nil
}

func buildPlatforms(ctx context.Context, s *shelf, _ int) ([]image, error) {
	i := image{repository: "shop/c", tag: "1.0"}
	children, err := s.platforms(ctx, &i, []int64{60 * mib, 40 * mib, 25 * mib, 15 * mib, 8 * mib, 2 * mib}, "amd64", "arm64", "riscv64", "s390x")
	if err != nil {
		return nil, err
	}
	_, err = s.index(ctx, &i, children)
	return []image{i}, err
}

func buildFleet(ctx context.Context, s *shelf, repositories int) ([]image, error) {
	var images []image
	var shared []descriptor
	for n := range repositories {
		i := image{repository: fmt.Sprintf("fleet/e%03d", n), tag: "1.0"}
		if n == 0 {
			for range 3 {
				l, err := s.layer(ctx, i.repository, 514*kib)
				if err != nil {
					return nil, err
				}
				shared = append(shared, l)
			}
		} else {
			for _, l := range shared {
				if err := s.mount(ctx, images[0].repository, i.repository, l); err != nil {
					return nil, err
				}
			}
		}
		d, err := s.platform(ctx, &i, i.tag, "amd64", shared, same(2, 68*kib))
		if err != nil {
			return nil, err
		}
		i.root = d.Digest
		images = append(images, i)
	}
	return images, nil
}

func buildAttached(ctx context.Context, s *shelf, _ int) ([]image, error) {
	const signature, bom = "application/vnd.example.signature.v1+json", "application/spdx+json"
	i := image{repository: "shop/f", tag: "1.0"}
	children, err := s.platforms(ctx, &i, same(2, 1000*kib), "amd64", "arm64")
	if err != nil {
		return nil, err
	}
	root, err := s.index(ctx, &i, children)
	if err != nil {
		return nil, err
	}
	for _, attach := range []struct {
		to    descriptor
		types []string
	}{{root, []string{signature, bom}}, {children[0], []string{signature, bom}}, {children[1], []string{bom}}} {
		var made []descriptor
		for _, t := range attach.types {
			d, err := s.artifact(ctx, &i, attach.to, t, 20*kib)
			if err != nil {
				return nil, err
			}
			made = append(made, d)
		}
		if err := s.list(ctx, &i, attach.to, made...); err != nil {
			return nil, err
		}
	}
	cosign := fallbackTag(root.Digest) + ".sig"
	d, err := s.platform(ctx, &i, cosign, "", nil, []int64{1 * kib})
	i.attached = append(i.attached, d.Digest)
	i.tags = map[string]string{cosign: d.Digest}
	return []image{i}, err
}
