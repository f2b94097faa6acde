package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Artifact is what the manifest of an artifact says of itself: its type, the
// digest that it refers to and the media types of its layers.
type Artifact struct {
	Type    string
	Subject string
	Layers  []string
}

// RecordLayer returns which layer of an artifact is the seal record of an
// image, given by digest. The error says why the artifact is not one.
func (a Artifact) RecordLayer(digest string) (int, error) {
	switch {
	case a.Type != ArtifactType:
		return 0, fmt.Errorf("its manifest has the artifact type %q", a.Type)
	case a.Subject == "":
		return 0, errors.New("its manifest refers to nothing")
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

// Parse reads the seal record of an image, given by digest. Anything but one
// record of that image is an error. The name of the image may be another one:
// records travel with an image when it is promoted, and the digest binds.
func Parse(content []byte, digest string) (Record, error) {
	if err := unique(content); err != nil {
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
		return Record{}, fmt.Errorf("the record is of the image %q", r.Digest)
	case r.Run.ID < 0:
		return Record{}, errors.New("the record has an impossible run id")
	}
	return r, nil
}

// maxDepth bounds the nesting of a record.
const maxDepth = 8

// unique refuses anything but one JSON object without duplicate names. The
// standard decoder takes the last of two values and matches names without case.
func unique(content []byte) error {
	invalid := errors.New("the record is not one valid JSON object")
	if trimmed := bytes.TrimSpace(content); len(trimmed) == 0 || trimmed[0] != '{' {
		return invalid
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	var walk func(depth int) error
	walk = func(depth int) error {
		token, err := decoder.Token()
		if err != nil || depth > maxDepth {
			return invalid
		}
		delimiter, nested := token.(json.Delim)
		if !nested {
			return nil
		}
		names := map[string]bool{}
		for decoder.More() {
			if delimiter == '{' {
				token, err := decoder.Token()
				if err != nil {
					return invalid
				}
				name := strings.ToLower(strings.ToUpper(token.(string)))
				if names[name] {
					return fmt.Errorf("the record has %q twice", name)
				}
				names[name] = true
			}
			if err := walk(depth + 1); err != nil {
				return err
			}
		}
		if _, err := decoder.Token(); err != nil {
			return invalid
		}
		return nil
	}
	if err := walk(0); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return invalid
	}
	return nil
}
