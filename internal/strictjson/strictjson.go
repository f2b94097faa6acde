// Package strictjson finds what the standard decoder forgives: duplicate names,
// data after the end, invalid UTF-8 and deep nesting. Documents that are evidence
// must be read alike by every program. The package is pure.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// CheckObject returns an error unless content is one JSON object in which no two
// names of one object are equal, also not in different case: the standard decoder
// uses the last of two values and matches names without case. The noun names the
// document in errors.
func CheckObject(noun string, content []byte, maxDepth int) error {
	invalid := fmt.Errorf("the %s is not one valid JSON object", noun)
	if trimmed := bytes.TrimSpace(content); len(trimmed) == 0 || trimmed[0] != '{' || !utf8.Valid(content) {
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
					return fmt.Errorf("the %s has %q twice", noun, name)
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
