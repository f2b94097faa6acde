package seal

import (
	"encoding/json"
	"errors"
	"fmt"

	"acrpromote/internal/strictjson"
)

// Artifact is the content of an artifact's manifest: its type, the digest of its
// subject and the media types of its layers.
type Artifact struct {
	Type    string
	Subject string
	Layers  []string
}

// RecordLayer returns the index of the layer with the seal record of the image
// with the given digest. It returns an error if the artifact is not a seal record
// of that image.
func (a Artifact) RecordLayer(digest string) (int, error) {
	switch {
	case a.Type != ArtifactType:
		return 0, fmt.Errorf("its manifest has the artifact type %q", a.Type)
	case a.Subject == "":
		return 0, errors.New("its manifest has no subject")
	case a.Subject != digest:
		return 0, fmt.Errorf("its manifest refers to %s", a.Subject)
	}
	found := -1
	for i, mediaType := range a.Layers {
		if mediaType != ArtifactType {
			continue
		}
		if found >= 0 {
			return 0, errors.New("it has several record layers")
		}
		found = i
	}
	if found < 0 {
		return 0, errors.New("it has no record layer")
	}
	return found, nil
}

// Parse parses the seal record of the image with the given digest. The name of
// the image may differ: records are copied with an image when it is promoted, and
// the digest identifies it.
func Parse(content []byte, digest string) (Record, error) {
	if err := strictjson.CheckObject("record", content, maxDepth); err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(content, &r); err != nil {
		return Record{}, errors.New("the record is not valid JSON of its schema")
	}
	switch {
	case r.Schema != schema:
		return Record{}, fmt.Errorf("the record has the schema %q", r.Schema)
	case r.Digest != digest:
		return Record{}, fmt.Errorf("the record is for the image %q", r.Digest)
	case r.Run.ID < 0:
		return Record{}, errors.New("the record has an invalid run id")
	}
	return r, nil
}

// maxDepth limits the nesting of a record.
const maxDepth = 8
