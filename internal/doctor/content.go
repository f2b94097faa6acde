package doctor

import (
	"strconv"
	"strings"
	"time"
)

// content judges what else brings content into the registry or out of it.
func (r *registryJudge) content() {
	for _, t := range r.Tasks {
		purge := strings.Contains(t.Steps, "purge")
		switch {
		case strings.EqualFold(t.Status, "Disabled"):
		case purge && strings.Contains(t.Steps, "--include-locked"):
			r.add("purge-locked", "task", t.Name)
		case purge && !t.Outside && onlyPurges(t.Steps):
			r.add("purge-task", "task", t.Name)
		case !r.abac():
			r.add("task", "task", t.Name)
		}
	}
	for _, p := range r.Pipelines {
		id := "import-pipeline"
		if p.Export {
			id = "export-pipeline"
		}
		r.add(id, "pipeline", p.Name, "uri", p.URI)
	}
	for _, c := range r.CacheRules {
		if upper := r.upstream(c.Source); upper == nil || upper.Trust <= r.Trust {
			r.add("cache-rule", "rule", c.Name, "source", c.Source, "target", c.Target)
		}
	}
	for _, c := range r.Connected {
		id := "connected-writes"
		if strings.EqualFold(c.Mode, "ReadOnly") || strings.EqualFold(c.Mode, "Mirror") {
			id = "connected-reads"
		}
		r.add(id, "connected", c.Name)
	}
}

// onlyPurges reports whether a task's steps are nothing but commands of acr purge, as
// the documented command writes them. Another form of YAML may hide another step.
func onlyPurges(steps string) bool {
	for line := range strings.Lines(steps) {
		line = strings.TrimLeft(strings.TrimSpace(line), "- ")
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "", "version", "steps", "timeout", "disableWorkingDirectoryOverride":
		case "cmd":
			if !strings.HasPrefix(strings.TrimSpace(value), "acr purge ") {
				return false
			}
		default:
			if line[0] != '#' {
				return false
			}
		}
	}
	return true
}

// tokens judges the tokens of scope maps: in a protected registry all of them, and
// everywhere those whose passwords do not expire.
func (r *registryJudge) tokens() {
	for _, t := range r.Tokens {
		usable := t.Certificates > 0
		endless := false
		for _, expiry := range t.Passwords {
			at, err := time.Parse(time.RFC3339, expiry)
			endless = endless || expiry == ""
			usable = usable || err != nil || r.setup.Now.Before(at)
		}
		if !usable || strings.EqualFold(t.Status, "disabled") {
			continue
		}
		if endless {
			r.add("token-no-expiry", "token", t.Name)
		}
		if !r.protected {
			continue
		}
		actions, known := r.ScopeMaps[strings.ToLower(t.ScopeMap)]
		if !known {
			r.add("token-unread", "token", t.Name)
			continue
		}
		var changed, read []string
		for _, action := range actions {
			action = strings.ToLower(action)
			repository, verb := action, ""
			if at := strings.LastIndex(action, "/content/"); at >= 0 {
				repository, verb = action[:at], action[at+len("/content/"):]
			} else if at := strings.LastIndex(action, "/metadata/"); at >= 0 {
				repository, verb = action[:at], action[at+len("/metadata/"):]
			}
			repository = strings.TrimPrefix(repository, "repositories/")
			switch {
			case verb == "write", verb == "delete":
				changed = once(changed, repository)
			case strings.HasSuffix(action, "/content/read"):
				read = once(read, repository)
			}
		}
		switch {
		case len(changed) > 0:
			r.add("token-writes", "token", t.Name, "repositories", some(changed))
		case len(read) > 0:
			r.add("token-reads", "token", t.Name, "repositories", some(read))
		}
	}
}

// some returns the first of a list of names.
func some(names []string) string {
	const shown = 5
	if len(names) > shown {
		return strings.Join(names[:shown], ", ") + " and " + strconv.Itoa(len(names)-shown) + " more"
	}
	return strings.Join(names, ", ")
}

func once(list []string, text string) []string {
	if contains(list, text) {
		return list
	}
	return append(list, text)
}

// upstream returns the registry of the setup that a cache rule reads from, or nil.
func (r *registryJudge) upstream(source string) *Registry {
	host, _, _ := strings.Cut(source, "/")
	for i := range r.setup.Registries {
		if r.setup.Registries[i].named(host) {
			return &r.setup.Registries[i]
		}
	}
	return nil
}

// reachesUp judges what brings content of a more trusted registry down without an
// approval.
func (r *registryJudge) reachesUp() {
	for _, c := range r.CacheRules {
		if upper := r.upstream(c.Source); upper != nil && upper.Trust > r.Trust {
			r.add("cache-of-trusted", "rule", c.Name, "source", c.Source, "target", c.Target, "upper", upper.where())
		}
	}
	for i := range r.setup.Registries {
		upper := &r.setup.Registries[i]
		if upper.Trust <= r.Trust {
			continue
		}
		for _, c := range r.Connected {
			if upper.ID != "" && strings.HasPrefix(strings.ToLower(c.Parent)+"/", strings.ToLower(upper.ID)+"/") {
				r.add("connected-to-trusted", "connected", c.Name, "upper", upper.where())
			}
		}
		for _, p := range r.Pipelines {
			for _, out := range upper.Pipelines {
				if out.Export && !p.Export && strings.EqualFold(strings.TrimSuffix(p.URI, "/"), strings.TrimSuffix(out.URI, "/")) {
					r.add("import-of-trusted", "pipeline", p.Name, "uri", p.URI, "upper", upper.where())
				}
			}
		}
	}
}
