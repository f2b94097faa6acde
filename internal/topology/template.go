package topology

import (
	"fmt"
	"strings"

	"acrpromote/internal/ref"
)

// RepositoryTemplate makes the repository at the target of that at the source.
type RepositoryTemplate string

func (r *RepositoryTemplate) read(text string) error {
	if err := checkTemplate(text, "{repository}"); err != nil {
		return err
	}
	if !ref.IsRepository(strings.ReplaceAll(text, "{repository}", "a")) {
		return mistake{fmt.Sprintf("%s makes no valid repository.", quote(text)), `Write it as "released/{repository}": lower-case letters and digits, parted by '.', '_', '-' and '/'.`}
	}
	*r = RepositoryTemplate(text)
	return nil
}

// TagTemplate makes the tag at the target of that at the source.
type TagTemplate string

func (t *TagTemplate) read(text string) error {
	if err := checkTemplate(text, "{tag}"); err != nil {
		return err
	}
	if !ref.IsTag(strings.ReplaceAll(text, "{tag}", "a")) {
		return mistake{fmt.Sprintf("%s makes no valid tag.", quote(text)), `Write it as "released-{tag}": letters, digits, '_', '.' and '-', not beginning with '.' or '-'.`}
	}
	*t = TagTemplate(text)
	return nil
}

// checkTemplate refuses braces that are not the one word a template knows.
func checkTemplate(text, word string) error {
	rest := strings.ReplaceAll(text, word, "")
	if at := strings.IndexAny(rest, "{}"); at >= 0 || len(text) > mostPattern {
		return mistake{fmt.Sprintf("%s is no template.", quote(text)), fmt.Sprintf("The only word in braces here is %s.", word)}
	}
	return nil
}

// Resource is an environment's name or endpoint:NAME, and may hold {tag}.
type Resource string

func (r *Resource) read(text string) error {
	if err := printable("environment", text); err != nil {
		return err
	}
	if strings.TrimPrefix(text, "endpoint:") == "" {
		return mistake{fmt.Sprintf("%s names no service connection.", quote(text)), "Write endpoint:NAME."}
	}
	if err := checkTemplate(text, "{tag}"); err != nil {
		return err
	}
	*r = Resource(text)
	return nil
}

func (r Resource) templated() bool { return strings.Contains(string(r), "{tag}") }

// For is the resource's name for a tag at the target.
func (r Resource) For(tag string) (string, error) {
	if !r.templated() {
		return string(r), nil
	}
	if !ref.IsTag(tag) {
		return "", fmt.Errorf("the approval's resource is %s, and there is no tag at the target: name one in targets, as host/repository:tag", r)
	}
	return strings.ReplaceAll(string(r), "{tag}", tag), nil
}

// Names gives the names that an image has at the flow's targets. An image by
// digest alone has an empty tag there too, unless the flow's template is a
// fixed one.
func (f *Flow) Names(repository, tag string) (atRepository, atTag string, err error) {
	atRepository, atTag = repository, tag
	if f.As.Repository != "" {
		atRepository = strings.ReplaceAll(string(f.As.Repository), "{repository}", repository)
	}
	if f.As.Tag != "" && (tag != "" || !strings.Contains(string(f.As.Tag), "{tag}")) {
		atTag = strings.ReplaceAll(string(f.As.Tag), "{tag}", tag)
	}
	if !ref.IsRepository(atRepository) {
		return "", "", fmt.Errorf("flow %s makes of repository %s the name %s, which is no repository's (at most 255 characters): shorten one of them", f.Name, quote(repository), quote(atRepository))
	}
	if atTag != "" && !ref.IsTag(atTag) {
		return "", "", fmt.Errorf("flow %s makes of tag %s the name %s, which is no tag's (at most 128 characters): shorten one of them", f.Name, quote(tag), quote(atTag))
	}
	return atRepository, atTag, nil
}
