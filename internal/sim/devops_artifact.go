package sim

import (
	"fmt"
	"maps"
	"strings"
	"unicode"
)

// ValidName reports whether an artifact or an attachment may have a name: it becomes
// a file's where it is downloaded, on Windows too. How long a name may be is not
// documented; no file system takes more than 255 bytes.
func ValidName(name string) bool {
	return name != "" && len(name) <= 255 && !strings.ContainsAny(name, `"<>|:*?/\`) && !strings.ContainsFunc(name, unicode.IsControl)
}

// Publish stores an artifact of the step's run, as the logging command
// artifact.upload does. A run never has two of the same name.
func (p *Step) Publish(name string, files map[string]string) error {
	p.lock()
	defer p.unlock()
	r := p.stage.run
	if !ValidName(name) {
		return fmt.Errorf("the artifact name %q is not valid", name)
	}
	for existing := range r.artifacts {
		if strings.EqualFold(existing, name) {
			return fmt.Errorf("artifact %s already exists for build %d", name, r.id)
		}
	}
	r.artifacts[name] = maps.Clone(files)
	return nil
}

// Artifacts returns the files of each artifact of the run, by names.
func (r *Run) Artifacts() map[string]map[string]string {
	r.project.org.mu.Lock()
	defer r.project.org.mu.Unlock()
	return maps.Clone(r.artifacts)
}

// Attached returns the contents of the step's attachments of a type, by name.
func (p *Step) Attached(kind string) map[string]string {
	p.lock()
	defer p.unlock()
	found := map[string]string{}
	for _, a := range p.attachments {
		if a.kind == kind {
			found[a.name] = string(a.content)
		}
	}
	return found
}
