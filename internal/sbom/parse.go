package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"acrpromote/internal/ref"
)

// maxSubjects limits the subjects of a statement that are kept.
const maxSubjects = 100

// maxComponents limits how deep the components of CycloneDX are nested.
const maxComponents = 30

// parser reads one document. The names of an object can come in any order, so the
// format is known only at its end.
type parser struct {
	decoder   *json.Decoder
	spdx      document
	cyclone   document
	statement bool   // _type is that of an in-toto statement
	predicate string // predicateType
	within    *parser
	subjects  []string
}

// document is what was read of one format.
type document struct {
	version  string // spdxVersion, or bomFormat
	list     bool   // there was a list of packages or components
	packages map[Package]bool
}

func parse(r io.Reader) (Document, error) {
	p := &parser{decoder: json.NewDecoder(r)}
	if err := p.document(true); err != nil {
		return Document{}, reason(err)
	}
	if _, err := p.decoder.Token(); !errors.Is(err, io.EOF) {
		if err != nil {
			return Document{}, reason(err)
		}
		return Document{}, invalid("something follows the document")
	}
	if p.within == nil {
		if p.statement || p.predicate != "" {
			return Document{}, invalid("it is a statement without a predicate")
		}
		return p.result()
	}
	if !p.statement {
		return Document{}, invalid("it has a predicate, but is not an in-toto statement")
	}
	format, ok := FormatOf(p.predicate)
	if !ok {
		return Document{}, invalid("its predicate is not an SBOM")
	}
	found, err := p.within.result()
	if err == nil && found.Format != format {
		return Document{}, invalid("its predicate type stands for %s, but the predicate is %s", format, found.Format)
	}
	found.Subjects = p.subjects
	return found, err
}

// reason returns an error of reading the document: one of its own or of the reader
// as it is, and one of JSON in general terms, as it may quote the document.
func reason(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax), errors.As(err, &kind):
		return invalid("it is not valid JSON")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("it ends too early")
	}
	return err
}

// result decides which format it was.
func (p *parser) result() (Document, error) {
	isSPDX, isCyclone := p.spdx.version != "" || p.spdx.list, p.cyclone.version != "" || p.cyclone.list
	switch {
	case isSPDX && isCyclone:
		return Document{}, invalid("it is both an SPDX and a CycloneDX document")
	case isSPDX && strings.HasPrefix(p.spdx.version, "SPDX-2."):
		return Document{Format: SPDX, Packages: p.spdx.packages}, nil
	case isCyclone && p.cyclone.version == "CycloneDX":
		return Document{Format: CycloneDX, Packages: p.cyclone.packages}, nil
	}
	return Document{}, invalid("it is neither an SPDX 2 nor a CycloneDX document in JSON")
}

// document reads the object of a document; outermost, it may be a statement.
func (p *parser) document(outermost bool) error {
	p.spdx.packages, p.cyclone.packages = map[Package]bool{}, map[Package]bool{}
	seen := map[string]bool{}
	return p.object(func(name string) error {
		switch name {
		case "spdxVersion", "bomFormat", "packages", "components", "_type", "predicateType", "predicate", "subject":
			if seen[name] {
				return invalid("it has a name twice")
			}
			seen[name] = true
		}
		var err error
		switch {
		case name == "spdxVersion":
			p.spdx.version, err = p.text()
		case name == "bomFormat":
			p.cyclone.version, err = p.text()
		case name == "packages":
			p.spdx.list = true
			err = p.array(p.spdxPackage)
		case name == "components":
			p.cyclone.list = true
			err = p.components(1)
		case name == "_type" && outermost:
			var kind string
			kind, err = p.text()
			p.statement = strings.HasPrefix(kind, "https://in-toto.io/Statement/")
		case name == "predicateType" && outermost:
			p.predicate, err = p.text()
		case name == "subject" && outermost:
			err = p.array(p.subject)
		case name == "predicate" && outermost:
			p.within = &parser{decoder: p.decoder}
			err = p.within.document(false)
		default:
			err = p.skip()
		}
		return err
	})
}

// subject reads one subject of a statement.
func (p *parser) subject() error {
	return p.object(func(name string) error {
		if name != "digest" {
			return p.skip()
		}
		return p.object(func(algorithm string) error {
			value, err := p.text()
			if sum, invalid := hex.DecodeString(value); algorithm == "sha256" && invalid == nil && len(sum) == sha256.Size && len(p.subjects) < maxSubjects {
				p.subjects = append(p.subjects, ref.EncodeDigest(sum))
			}
			return err
		})
	})
}

// spdxPackage reads one package of SPDX.
// https://spdx.github.io/spdx-spec/v2.3/package-information/
func (p *parser) spdxPackage() error {
	var name, version, purl, purpose string
	err := p.object(func(field string) (err error) {
		switch field {
		case "name":
			name, err = p.text()
		case "versionInfo":
			version, err = p.text()
		case "primaryPackagePurpose":
			purpose, err = p.text()
		case "externalRefs":
			return p.array(func() error {
				var kind, locator string
				err := p.object(func(field string) (err error) {
					switch field {
					case "referenceType":
						kind, err = p.text()
					case "referenceLocator":
						locator, err = p.text()
					default:
						err = p.skip()
					}
					return err
				})
				if kind == "purl" && purl == "" {
					purl = locator
				}
				return err
			})
		default:
			return p.skip()
		}
		return err
	})
	if err != nil || purpose == "CONTAINER" || purpose == "FILE" {
		return err
	}
	return add(p.spdx.packages, name, version, purl)
}

// components reads the components of CycloneDX, and those that they contain.
// https://cyclonedx.org/docs/1.6/json/#components
func (p *parser) components(depth int) error {
	if depth > maxComponents {
		return tooLarge("its components are nested more than %d levels deep", maxComponents)
	}
	return p.array(func() error {
		var group, name, version, purl, kind string
		err := p.object(func(field string) (err error) {
			switch field {
			case "group":
				group, err = p.text()
			case "name":
				name, err = p.text()
			case "version":
				version, err = p.text()
			case "purl":
				purl, err = p.text()
			case "type":
				kind, err = p.text()
			case "components":
				err = p.components(depth + 1)
			default:
				err = p.skip()
			}
			return err
		})
		if err != nil || kind == "container" || kind == "file" {
			return err
		}
		if group != "" {
			name = group + "/" + name
		}
		return add(p.cyclone.packages, name, version, purl)
	})
}

// add adds a package, unless it stands for an image as a whole or has no name.
func add(to map[Package]bool, name, version, purl string) error {
	one, ok := parsePURL(purl)
	switch {
	case !ok && name == "", ok && (one.Type == "oci" || one.Type == "docker"):
		return nil
	case !ok:
		one = Package{Name: name}
	}
	if one.Version == "" && version != "NOASSERTION" {
		one.Version = version
	}
	one.Type, one.Name, one.Version = cut(one.Type), cut(one.Name), cut(one.Version)
	if to[one] = true; len(to) > MaxPackages {
		return tooLarge("it lists more than %d packages", MaxPackages)
	}
	return nil
}

// object reads an object, and calls field with each name; field reads the value.
// Any other value is read and ignored.
func (p *parser) object(field func(name string) error) error {
	return p.inside('{', func() error {
		token, err := p.decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string) // of a field it always is one
		return field(name)
	})
}

// array reads an array in the same way, and calls element for each element.
func (p *parser) array(element func() error) error { return p.inside('[', element) }

func (p *parser) inside(delimiter json.Delim, each func() error) error {
	token, err := p.decoder.Token()
	if err != nil {
		return err
	}
	if token != delimiter {
		return p.rest(token)
	}
	for p.decoder.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err = p.decoder.Token()
	return err
}

// text reads a string, and any other value as "".
func (p *parser) text() (string, error) {
	token, err := p.decoder.Token()
	if err != nil {
		return "", err
	}
	s, _ := token.(string)
	return s, p.rest(token)
}

// skip reads a value.
func (p *parser) skip() error {
	token, err := p.decoder.Token()
	if err != nil {
		return err
	}
	return p.rest(token)
}

// rest reads the rest of the value that begins with a token.
func (p *parser) rest(token json.Token) error {
	for depth := 0; ; {
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return tooLarge("its values are nested more than %d levels deep", maxDepth)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth <= 0 {
			return nil
		}
		var err error
		if token, err = p.decoder.Token(); err != nil {
			return err
		}
	}
}
