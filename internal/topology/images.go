package topology

import (
	"cmp"
	"fmt"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sorting"
)

// Image is one entry of a list of images: a repository pattern with a tag
// pattern, or a repository with a digest. If it has both a tag and a digest, the
// tag must have the digest.
type Image struct {
	Line       int
	Repository RepositoryPattern
	Tag        TagPattern
	Digest     string
}

// String returns the entry as it is written in a list.
func (i Image) String() string {
	s := i.Repository.String()
	if tag := i.Tag.String(); tag != "" || i.Digest == "" {
		s += ":" + tag
	}
	if i.Digest != "" {
		s += "@" + i.Digest
	}
	return s
}

// Literal reports whether the entry names one image; if not, it is a pattern to
// be matched against the registry.
func (i Image) Literal() bool {
	tagged := i.Tag.bound == nil && i.Tag.glob.literal
	return i.Repository.literal && (tagged || i.Tag.text == "" && i.Digest != "")
}

// Match reports whether the entry, a tagged one, matches an image of the
// registry.
func (i Image) Match(repository, tag string) bool {
	return i.Digest == "" && i.Repository.match(repository) && i.Tag.match(tag)
}

const maxImages = 10_000

// ParseImages parses a list of images, one per line: repository:tag,
// repository@sha256:…, or patterns for both. It ignores empty lines and lines
// that begin with #. The result is sorted and has each entry once, so that the
// order of lines does not matter. The error is an *Invalid.
func ParseImages(name string, content []byte) ([]Image, error) {
	p := &problems{}
	text, ok := clean(p, content, maxBytes)
	if !ok {
		return nil, p.err(name)
	}
	var images entries
	lines(text, func(line, column int, entry string) {
		if image, err := readImage(entry); err != nil {
			addError(p, line, column, err)
		} else {
			images.put(p, line, column, image)
		}
	})
	if len(images.list) == 0 && len(p.found) == 0 {
		p.add(1, 1, "the list has no images", "Write one repository:tag per line.")
	}
	if err := p.err(name); err != nil {
		return nil, err
	}
	return images.sorted(), nil
}

// lines calls each for the lines that are neither empty nor comments.
func lines(text string, each func(line, column int, entry string)) {
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		if entry := strings.TrimSpace(line); entry != "" && entry[0] != '#' {
			each(number, strings.Index(line, entry)+1, entry)
		}
	}
}

// addError adds an error, with its remedy if it is a mistake.
func addError(p *problems, line, column int, err error) {
	m, ok := err.(mistake)
	if !ok {
		m.reason = err.Error()
	}
	p.add(line, column, m.reason, m.remedy)
}

// entries is a set of images.
type entries struct {
	list []Image
	have map[string]bool
	full bool
}

func (e *entries) put(p *problems, line, column int, image Image) {
	if e.have == nil {
		e.have = map[string]bool{}
	}
	switch text := image.String(); {
	case e.have[text]:
	case len(e.list) < maxImages:
		e.have[text] = true
		image.Line = line
		e.list = append(e.list, image)
	case !e.full:
		e.full = true
		p.add(line, column, fmt.Sprintf("more than %d images", maxImages), "Use patterns, or several steps.")
	}
}

func (e *entries) sorted() []Image {
	sorting.By(e.list, func(a, b Image) int { return cmp.Compare(a.String(), b.String()) })
	return e.list
}

// readImage parses one entry. It rejects a tag before a digest, which could
// name another image.
func readImage(entry string) (Image, error) {
	if first, _, nested := strings.Cut(entry, "/"); nested && (strings.Contains(first, ":") || strings.Contains(first, ".azurecr.")) {
		return Image{}, mistake{quote(entry) + " includes a registry", "Write repository:tag. The registry is the flow's source."}
	}
	if repository, digest, found := strings.Cut(entry, "@"); found {
		return readDigest(entry, repository, digest)
	}
	repository, tag, found := strings.Cut(entry, ":")
	if found && tag == "" {
		return Image{}, mistake{quote(entry) + " has an empty tag", "Is a variable empty? Write repository:tag."}
	}
	if !found {
		return Image{}, mistake{quote(entry) + " has neither tag nor digest", fmt.Sprintf("Write %[1]s:TAG, or %[1]s:* for all tags.", strings.Trim(quote(repository), `"`))}
	}
	if repository == "" {
		return Image{}, mistake{quote(entry) + " has no repository", "Is a variable empty? Write repository:tag."}
	}
	var image Image
	if err := image.Repository.read(repository); err != nil {
		return Image{}, err
	}
	return image, image.Tag.read(tag)
}

func readDigest(entry, repository, digest string) (Image, error) {
	var image Image
	switch {
	case repository == "":
		return Image{}, mistake{quote(entry) + " has no repository", "Is a variable empty? Write repository@sha256:<digest>."}
	case digest == "":
		return Image{}, mistake{quote(entry) + " has an empty digest", "Is a variable empty? Write repository@sha256:<digest>."}
	case strings.Contains(repository, ":"):
		return Image{}, mistake{quote(entry) + " has a tag and a digest", "Remove one of them."}
	case !ref.IsDigest(digest):
		return Image{}, notDigest(digest)
	}
	if err := image.Repository.read(repository); err != nil {
		return Image{}, err
	}
	if !image.Repository.literal {
		return Image{}, mistake{quote(entry) + " combines a pattern with a digest", "Name the repository that has the digest."}
	}
	image.Digest = digest
	return image, nil
}

func notDigest(text string) error {
	return mistake{quote(text) + " is not a valid digest", "A digest is sha256: followed by 64 lower-case hexadecimal digits."}
}
