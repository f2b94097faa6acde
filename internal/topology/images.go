package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/ref"
)

// Image is one entry of a list: a pattern over repositories with a pattern
// over tags, or a repository with a digest.
type Image struct {
	Line       int
	Repository RepositoryPattern
	Tag        TagPattern // empty where there is a digest
	Digest     string
}

// String writes the entry as a list has it.
func (i Image) String() string {
	if i.Digest != "" {
		return i.Repository.String() + "@" + i.Digest
	}
	return i.Repository.String() + ":" + i.Tag.String()
}

// Literal says whether the entry is one image, and not a pattern to be looked
// for in the registry.
func (i Image) Literal() bool {
	return i.Repository.literal && (i.Digest != "" || i.Tag.bound == nil && i.Tag.glob.literal)
}

// Match says whether an image of the registry is meant by a tagged entry.
func (i Image) Match(repository, tag string) bool {
	return i.Digest == "" && i.Repository.Match(repository) && i.Tag.Match(tag)
}

const mostImages = 10_000

// ParseImages reads a list of images, one a line: repository:tag,
// repository@sha256:…, or patterns over both. Empty lines and lines that begin
// with # say nothing. What is given is sorted, each entry once, so that the
// order of lines never counts. The error is an *Invalid.
func ParseImages(name string, content []byte) ([]Image, error) {
	p := &problems{}
	text, ok := clean(p, content, mostBytes)
	if !ok {
		return nil, p.err(name)
	}
	var images entries
	lines(text, func(line, column int, entry string) {
		if image, err := readImage(entry); err != nil {
			tell(p, line, column, err)
		} else {
			images.put(p, line, column, image)
		}
	})
	if len(images.list) == 0 && len(p.found) == 0 {
		p.add(1, 1, "The list names no image.", "Write repository:tag, one a line.")
	}
	if err := p.err(name); err != nil {
		return nil, err
	}
	return images.sorted(), nil
}

// lines walks the lines that say something.
func lines(text string, each func(line, column int, entry string)) {
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		if entry := strings.TrimSpace(line); entry != "" && entry[0] != '#' {
			each(number, strings.Index(line, entry)+1, entry)
		}
	}
}

// tell adds an error that is a mistake, or any other.
func tell(p *problems, line, column int, err error) {
	m, ok := err.(mistake)
	if !ok {
		m.reason = err.Error()
	}
	p.add(line, column, m.reason, m.remedy)
}

// entries are images, each once.
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
	case len(e.list) < mostImages:
		e.have[text] = true
		image.Line = line
		e.list = append(e.list, image)
	case !e.full:
		e.full = true
		p.add(line, column, fmt.Sprintf("There are more than %d images.", mostImages), "Use patterns, or several steps.")
	}
}

func (e *entries) sorted() []Image {
	slices.SortFunc(e.list, func(a, b Image) int { return cmp.Compare(a.String(), b.String()) })
	return e.list
}

// readImage reads one entry. Where there is a digest, the tag before it is not
// taken: it could name another image.
func readImage(entry string) (Image, error) {
	if first, _, nested := strings.Cut(entry, "/"); nested && (strings.Contains(first, ":") || strings.Contains(first, ".azurecr.")) {
		return Image{}, mistake{fmt.Sprintf("%s names a registry.", quote(entry)), "Write repository:tag; the registry is the flow's source."}
	}
	if repository, digest, found := strings.Cut(entry, "@"); found {
		return readDigest(entry, repository, digest)
	}
	repository, tag, found := strings.Cut(entry, ":")
	if !found || tag == "" {
		return Image{}, mistake{fmt.Sprintf("%s names neither tag nor digest.", quote(entry)), fmt.Sprintf("Write %s:TAG, or %s:* for every tag.", strings.Trim(quote(repository), `"`), strings.Trim(quote(repository), `"`))}
	}
	if repository == "" {
		return Image{}, mistake{fmt.Sprintf("%s names no repository.", quote(entry)), "Write repository:tag."}
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
		return Image{}, mistake{fmt.Sprintf("%s names no repository.", quote(entry)), "Write repository@sha256:…."}
	case strings.Contains(repository, ":"):
		return Image{}, mistake{fmt.Sprintf("%s has a tag and a digest.", quote(entry)), "Write one of them."}
	case !ref.IsDigest(digest):
		return Image{}, mistake{fmt.Sprintf("%s is no digest.", quote(digest)), "Write sha256: and 64 hexadecimal digits in lower case."}
	}
	if err := image.Repository.read(repository); err != nil {
		return Image{}, err
	}
	if !image.Repository.literal {
		return Image{}, mistake{fmt.Sprintf("%s is a pattern with a digest.", quote(entry)), "A digest belongs to one repository: name it."}
	}
	image.Digest = digest
	return image, nil
}
