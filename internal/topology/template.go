package topology

import (
	"fmt"
	"strings"

	"acrpromote/internal/ref"
)

// RepositoryTemplate is a template for the repository at the target.
type RepositoryTemplate string

func (r *RepositoryTemplate) read(text string) error {
	if err := checkTemplate(text, "{repository}"); err != nil {
		return err
	}
	if !ref.IsRepository(strings.ReplaceAll(text, "{repository}", "a")) {
		return mistake{quote(text) + " does not give a valid repository", `Write it as "released/{repository}". ` + repositoryRemedy}
	}
	*r = RepositoryTemplate(text)
	return nil
}

// TagTemplate is a template for the tag at the target.
type TagTemplate string

func (t *TagTemplate) read(text string) error {
	if err := checkTemplate(text, "{tag}"); err != nil {
		return err
	}
	if !ref.IsTag(strings.ReplaceAll(text, "{tag}", "a")) {
		return mistake{quote(text) + " does not give a valid tag", `Write it as "released-{tag}". A tag consists of letters, digits, '_', '.' and '-', and does not begin with '.' or '-'.`}
	}
	*t = TagTemplate(text)
	return nil
}

// checkTemplate rejects braces other than those of the placeholder.
func checkTemplate(text, word string) error {
	rest := strings.ReplaceAll(text, word, "")
	if at := strings.IndexAny(rest, "{}"); at >= 0 || len(text) > maxPattern {
		return mistake{quote(text) + " is not a valid template", fmt.Sprintf("The only placeholder here is %s.", word)}
	}
	return nil
}

// Resource is the name of an environment or endpoint:NAME, with endpoint in any
// case. It may contain {tag}.
type Resource string

func (r *Resource) read(text string) error {
	if err := printable("environment", text); err != nil {
		return err
	}
	if strings.TrimPrefix(strings.ToLower(text), "endpoint:") == "" {
		return mistake{quote(text) + " does not name a service connection", "Write endpoint:NAME."}
	}
	if err := checkTemplate(text, "{tag}"); err != nil {
		return err
	}
	*r = Resource(text)
	return nil
}

func (r Resource) templated() bool { return strings.Contains(string(r), "{tag}") }

// forTag returns the resource's name for a tag at the target.
func (r Resource) forTag(tag string) (string, error) {
	if !r.templated() {
		return string(r), nil
	}
	if !ref.IsTag(tag) {
		return "", fmt.Errorf("the approval's resource is %s, but the target has no tag: name one in targets, as host/repository:tag", r)
	}
	return strings.ReplaceAll(string(r), "{tag}", tag), nil
}

// Names returns the names of an image at the flow's targets. An image by digest
// has an empty tag there too, unless the flow's template is a fixed tag.
func (f *Flow) Names(repository, tag string) (atRepository, atTag string, err error) {
	atRepository, atTag = repository, tag
	if f.As.Repository != "" {
		atRepository = strings.ReplaceAll(string(f.As.Repository), "{repository}", repository)
	}
	if f.As.Tag != "" && (tag != "" || !strings.Contains(string(f.As.Tag), "{tag}")) {
		atTag = strings.ReplaceAll(string(f.As.Tag), "{tag}", tag)
	}
	if !ref.IsRepository(atRepository) {
		return "", "", fmt.Errorf("flow %s renames repository %s to %s, which is not a valid repository (at most 255 characters): shorten one of them", f.Name, quote(repository), quote(atRepository))
	}
	if atTag != "" && !ref.IsTag(atTag) {
		return "", "", fmt.Errorf("flow %s renames tag %s to %s, which is not a valid tag (at most 128 characters): shorten one of them", f.Name, quote(tag), quote(atTag))
	}
	return atRepository, atTag, nil
}

// SourceNames returns the names that an image has at the source if it has these at a
// target of the flow, the reverse of Names. ok is false if the flow gives no image these
// names.
func (f *Flow) SourceNames(atRepository, atTag string) (repository, tag string, ok bool) {
	repository, repositoryOK := f.SourceRepository(atRepository)
	tag, tagOK := unfill(string(f.As.Tag), "{tag}", atTag)
	return repository, tag, repositoryOK && tagOK && tag != "" && f.Covers(repository, tag)
}

// SourceRepository is SourceNames for a repository alone.
func (f *Flow) SourceRepository(atRepository string) (repository string, ok bool) {
	repository, ok = unfill(string(f.As.Repository), "{repository}", atRepository)
	if names := f.Repositories.Names(); ok && repository == "" && len(names) == 1 {
		repository = names[0] // the template is one name
	}
	return repository, ok && ref.IsRepository(repository) && f.Repositories.Match(repository)
}

// unfill returns what stands for the word in a text that was made of a template; it is
// empty if the template does not have the word.
func unfill(template, word, text string) (string, bool) {
	n := strings.Count(template, word)
	switch {
	case template == "":
		return text, true
	case n == 0:
		return "", template == text
	}
	length, at := len(text)-len(template)+n*len(word), strings.Index(template, word)
	if length <= 0 || length%n != 0 {
		return "", false
	}
	value := text[at:min(at+length/n, len(text))]
	if strings.ReplaceAll(template, word, value) != text {
		return "", false
	}
	return value, true
}
