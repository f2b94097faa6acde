package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ImageManifest is the manifest of an image, an artifact or an index, with what a
// copy does not need: the annotations and the platforms.
type ImageManifest struct {
	Descriptor
	Config   Descriptor // of an image
	Layers   []Descriptor
	Children []ChildManifest
	Subject  string // digest; "" if it has none
	// Inline is the content of the first layer if its descriptor embeds it, and it is
	// small; it has not been compared with the digest.
	Inline []byte
}

// ChildManifest is a manifest in an index.
type ChildManifest struct {
	Descriptor
	Platform *Platform // nil if the index names none
}

// Platform is a platform as in an index.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant"`
	OSVersion    string `json:"os.version"`
}

// ReadImageManifest reads and verifies a manifest by digest. What the run has not
// read already is not kept.
func (r *Registry) ReadImageManifest(ctx context.Context, repo, digest string) (ImageManifest, error) {
	const op = "reading the manifest"
	var image ImageManifest
	decode := func(m *Manifest, raw []byte) (err error) {
		if image, err = parseImageManifest(m, raw); err != nil {
			return r.corruptError(op, repo, digest, err.Error())
		}
		return nil
	}
	if m, ok := r.manifests.Peek(key(repo, digest)); ok {
		err := r.decodeRaw(ctx, repo, m, func(raw []byte) error { return decode(m, raw) })
		return image, withSide(Source, r.wrap(ctx, op, repo, digest, err))
	}
	_, err := r.fetch(ctx, repo, digest, Descriptor{}, func(m *Manifest) error { return decode(m, m.Raw) })
	return image, withSide(Source, r.wrap(ctx, op, repo, digest, err))
}

func parseImageManifest(m *Manifest, raw []byte) (ImageManifest, error) {
	image := ImageManifest{Descriptor: m.Descriptor}
	if m.subject != nil {
		image.Subject = m.subject.Digest
	}
	if types.MediaType(m.MediaType).IsIndex() {
		doc := struct {
			Manifests   elements    `json:"manifests"`
			Annotations annotations `json:"annotations"`
		}{Manifests: elements{add: func(decoder *json.Decoder) error {
			if len(image.Children) == maxChildren {
				return &limitError{maxChildren, "manifests"}
			}
			var entry struct {
				descriptorDocument
				Platform *Platform `json:"platform"`
			}
			if err := decoder.Decode(&entry); err != nil {
				return err
			}
			d, err := entry.descriptor()
			image.Children = append(image.Children, ChildManifest{d, entry.Platform})
			return err
		}}}
		if err := json.Unmarshal(raw, &doc); err != nil {
			return ImageManifest{}, decodeError(err)
		}
		image.Annotations = doc.Annotations.value
		return image, nil
	}
	doc := imageDocument{Layers: descriptors(maxManifestLayers, "layers", func(document descriptorDocument, d Descriptor) {
		if data := document.Data.value; len(image.Layers) == 0 && int64(len(data)) == d.Size && d.Size <= maxLayer {
			image.Inline = data
		}
		image.Layers = append(image.Layers, d)
	})}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return ImageManifest{}, decodeError(err)
	}
	image.Annotations = doc.Annotations.value
	if types.MediaType(m.MediaType).IsImage() {
		var err error
		image.Config, err = doc.Config.value.descriptor()
		return image, err
	}
	return image, nil
}

// ReadBlob calls use with the content of a blob of at most limit bytes. The content
// has been compared with the digest only when ReadBlob returns without an error. An
// error of use is returned as it is.
func (r *Registry) ReadBlob(ctx context.Context, repo string, d Descriptor, limit int64, use func(io.Reader) error) error {
	const op = "reading the blob"
	if d.Size > limit {
		return withSide(Source, &Error{Registry: r.host, Repository: repo, Reference: d.Digest, Op: op, Kind: TooLarge,
			Reason: fmt.Sprintf("it has %d bytes, more than %d", d.Size, limit)})
	}
	body, err := verify(r.download(repo, d), d)(ctx)
	if err != nil {
		return withSide(Source, r.wrap(ctx, op, repo, d.Digest, err))
	}
	defer body.Close()
	if err := use(body); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, body)
	return withSide(Source, r.wrap(ctx, op, repo, d.Digest, err))
}
