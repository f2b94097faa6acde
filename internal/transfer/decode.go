package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// Manifests and lists come from outside. Decoded as a whole, four MiB of "{}," are
// half a GiB of descriptors. Lists are therefore decoded one element at a time,
// and decoding stops at the first that is not valid or is one too many.
const (
	maxManifestLayers = 10_000 // of one image
	maxChildren       = 20_000 // of one index
	maxAnnotations    = 1_000  // of one manifest or descriptor
)

// imageDocument is an image manifest.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
type imageDocument struct {
	ArtifactType once[string]              `json:"artifactType"`
	Config       once[descriptorDocument]  `json:"config"`
	Layers       elements                  `json:"layers"`
	Annotations  annotations               `json:"annotations"`
	Subject      once[*descriptorDocument] `json:"subject"`
}

// artifactDocument is a manifest of former artifacts.
type artifactDocument struct {
	ArtifactType once[string]              `json:"artifactType"`
	Blobs        elements                  `json:"blobs"`
	Annotations  annotations               `json:"annotations"`
	Subject      once[*descriptorDocument] `json:"subject"`
}

// indexDocument is an image index, or a list of referrers.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md
type indexDocument struct {
	SchemaVersion once[int]                 `json:"schemaVersion"`
	MediaType     once[string]              `json:"mediaType"`
	ArtifactType  once[string]              `json:"artifactType"`
	Manifests     elements                  `json:"manifests"`
	Annotations   annotations               `json:"annotations"`
	Subject       once[*descriptorDocument] `json:"subject"`
}

type descriptorDocument struct {
	MediaType    once[string] `json:"mediaType"`
	Digest       once[string] `json:"digest"`
	Size         once[int64]  `json:"size"`
	ArtifactType once[string] `json:"artifactType"`
	Annotations  annotations  `json:"annotations"`
	Data         once[[]byte] `json:"data"`
	URLs         urls         `json:"urls"`
}

// descriptor checks the document.
func (d descriptorDocument) descriptor() (Descriptor, error) {
	digest := d.Digest.value
	if digest == "" {
		return Descriptor{}, fmt.Errorf("a descriptor of type %q has no digest", sanitize.Bounded(d.MediaType.value, 100))
	}
	if err := ref.CheckDigest(digest); err != nil {
		return Descriptor{}, fmt.Errorf("the digest %s is %v", sanitize.Bounded(digest, 150), err)
	}
	if d.Size.value < 0 || d.Size.value > maxBlobSize {
		return Descriptor{}, fmt.Errorf("the size of %s is %d", digest, d.Size.value)
	}
	return Descriptor{MediaType: intern(d.MediaType.value), Digest: digest, Size: d.Size.value, ArtifactType: intern(d.ArtifactType.value), Annotations: d.Annotations.value}, nil
}

// distributable reports whether a layer is copied with its image. One of a type that
// is not distributable is too unless it says where else it is.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#non-distributable-layers
func (d descriptorDocument) distributable() bool {
	return !bool(d.URLs) || types.MediaType(d.MediaType.value).IsDistributable() && d.MediaType.value != restrictedZstd
}

// restrictedZstd is missing in the library's list.
const restrictedZstd = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"

// urls reports whether a descriptor has a URL.
type urls bool

func (u *urls) UnmarshalJSON(raw []byte) error {
	var list []string
	*u = urls(json.Unmarshal(raw, &list) == nil && slices.ContainsFunc(list, func(s string) bool { return s != "" }))
	return nil
}

// limitError is the error of a list that has too many elements.
type limitError struct {
	limit int
	what  string
}

func (e *limitError) Error() string { return fmt.Sprintf("it has more than %d %s", e.limit, e.what) }

// decodeError returns an error of decoding, which may quote what was decoded, in a
// length that can be shown.
func decodeError(err error) error {
	if _, excess := errors.AsType[*limitError](err); excess {
		return err
	}
	return errors.New(sanitize.Bounded(err.Error(), 300))
}

var errTwice = errors.New("it has a name twice")

// once is a field that may occur once: of two, clients do not agree on which counts.
type once[T any] struct {
	value T
	set   bool
}

func (o *once[T]) UnmarshalJSON(raw []byte) error {
	if o.set {
		return errTwice
	}
	o.set = true
	return json.Unmarshal(raw, &o.value)
}

// present is a field of which only the presence counts. null is none.
type present bool

func (p *present) UnmarshalJSON(raw []byte) error {
	if *p {
		return errTwice
	}
	*p = string(raw) != "null"
	return nil
}

// inside returns a decoder behind the opening delimiter of a value, nil for null
// and for anything else, which is an error with the given reason.
func inside(raw []byte, delimiter json.Delim, reason string) (*json.Decoder, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	switch begin, err := decoder.Token(); {
	case err != nil:
		return nil, err
	case begin == nil:
		return nil, nil
	case begin != delimiter:
		return nil, errors.New(reason)
	}
	return decoder, nil
}

// elements is a list of which each element is decoded and added on its own.
type elements struct {
	add func(*json.Decoder) error
	set bool
}

func (e *elements) UnmarshalJSON(raw []byte) error {
	if e.set {
		return errTwice
	}
	e.set = true
	decoder, err := inside(raw, '[', "it has no list where one is expected")
	if decoder == nil {
		return err
	}
	for decoder.More() {
		if err := e.add(decoder); err != nil {
			return err
		}
	}
	return nil
}

// descriptors returns a list of at most limit descriptors, called what in errors.
func descriptors(limit int, what string, add func(descriptorDocument, Descriptor)) elements {
	count := 0
	return elements{add: func(decoder *json.Decoder) error {
		if count++; count > limit {
			return &limitError{limit, what}
		}
		var document descriptorDocument
		if err := decoder.Decode(&document); err != nil {
			return err
		}
		d, err := document.descriptor()
		if err == nil {
			add(document, d)
		}
		return err
	}}
}

// stringElements returns a list of strings. It calls add with each.
func stringElements(add func(string) error) elements {
	return elements{add: func(decoder *json.Decoder) error {
		var s string
		if err := decoder.Decode(&s); err != nil {
			return err
		}
		return add(s)
	}}
}

// annotations are the annotations of a manifest or descriptor.
type annotations struct {
	value map[string]string
	set   bool
}

func (a *annotations) UnmarshalJSON(raw []byte) error {
	if a.set {
		return errTwice
	}
	a.set = true
	decoder, err := inside(raw, '{', "its annotations are not an object")
	if decoder == nil {
		return err
	}
	a.value = make(map[string]string)
	for count := 1; decoder.More(); count++ {
		if count > maxAnnotations {
			return &limitError{maxAnnotations, "annotations in one place"}
		}
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		var value string
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		a.value[name.(string)] = value
	}
	return nil
}
