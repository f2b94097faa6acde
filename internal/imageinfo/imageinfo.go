// Package imageinfo describes images by their manifests and configurations, and
// compares two of them. Everything but the digests and sizes is what the builder of the
// image claims.
package imageinfo

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"acrpromote/internal/sanitize"
)

// MaxConfig is the size in bytes of the largest configuration that is read.
const MaxConfig = 1 << 20

const (
	maxValue   = 500   // bytes of a value that are kept
	maxEntries = 1_000 // of one list
)

// Image is an image: an index with its platforms, or one platform.
type Image struct {
	Digest string
	// Annotations are those of the root manifest.
	Annotations map[string]string
	Platforms   []Platform
}

// Platform is the image of one platform.
type Platform struct {
	Name        string // os/architecture and what else tells it from others
	Digest      string
	Annotations map[string]string
	Layers      []Layer
	Config      *Config // nil if it was not read
}

// Layer is a layer in a registry.
type Layer struct {
	Digest string
	Size   int64
}

// Config is what is kept of the configuration of an image. Of environment
// variables it has only hashes of the values.
type Config struct {
	Platform   string
	Created    time.Time
	User       string
	WorkingDir string
	Entrypoint string
	Cmd        string
	StopSignal string
	Ports      []string
	Volumes    []string
	Env        map[string][sha256.Size]byte
	Labels     map[string]string // those of Claims
}

// ParseConfig parses a configuration.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
func ParseConfig(raw []byte) (*Config, error) {
	if len(raw) > MaxConfig {
		return nil, fmt.Errorf("it has more than %d KiB", MaxConfig>>10)
	}
	var document struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Variant      string `json:"variant"`
		OSVersion    string `json:"os.version"`
		Created      string `json:"created"`
		Config       struct {
			User         string              `json:"User"`
			WorkingDir   string              `json:"WorkingDir"`
			Entrypoint   []string            `json:"Entrypoint"`
			Cmd          []string            `json:"Cmd"`
			StopSignal   string              `json:"StopSignal"`
			Env          []string            `json:"Env"`
			ExposedPorts map[string]struct{} `json:"ExposedPorts"`
			Volumes      map[string]struct{} `json:"Volumes"`
			Labels       map[string]string   `json:"Labels"`
		} `json:"config"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		return nil, errors.New("it is not a valid image configuration")
	}
	c := &Config{
		Platform: PlatformName(document.OS, document.Architecture, document.Variant, document.OSVersion),
		User:     cut(document.Config.User), WorkingDir: cut(document.Config.WorkingDir), StopSignal: cut(document.Config.StopSignal),
		Entrypoint: arguments(document.Config.Entrypoint), Cmd: arguments(document.Config.Cmd),
		Ports: names(document.Config.ExposedPorts), Volumes: names(document.Config.Volumes),
		Env: map[string][sha256.Size]byte{}, Labels: map[string]string{},
	}
	if created, err := time.Parse(time.RFC3339, document.Created); err == nil {
		c.Created = created.UTC()
	}
	for _, variable := range document.Config.Env[:min(len(document.Config.Env), maxEntries)] {
		name, value, _ := strings.Cut(variable, "=")
		c.Env[cut(name)] = sha256.Sum256([]byte(value))
	}
	for _, label := range claimed {
		if value, ok := document.Config.Labels[label]; ok {
			c.Labels[label] = value
		}
	}
	return c, nil
}

// PlatformName returns the name of a platform, "" without an operating system and
// an architecture.
func PlatformName(os, architecture, variant, version string) string {
	if os == "" && architecture == "" {
		return ""
	}
	name := os + "/" + architecture
	if variant != "" {
		name += "/" + variant
	}
	if version != "" {
		name += ":" + version
	}
	return cut(name)
}

// arguments returns a list of arguments as in a Dockerfile, "" if there is none.
func arguments(list []string) string {
	if len(list) == 0 {
		return ""
	}
	raw, _ := json.Marshal(list) // a list of strings
	return cut(string(raw))
}

func names(set map[string]struct{}) []string {
	var list []string
	for name := range set {
		list = append(list, cut(name))
	}
	slices.Sort(list)
	return list[:min(len(list), maxEntries)]
}

// cut returns a value of a limited length.
func cut(s string) string { return sanitize.Cut(s, maxValue) }

// Keys of annotations and labels.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md
const (
	version    = "org.opencontainers.image.version"
	revision   = "org.opencontainers.image.revision"
	source     = "org.opencontainers.image.source"
	baseName   = "org.opencontainers.image.base.name"
	baseDigest = "org.opencontainers.image.base.digest"
)

var claimed = []string{version, revision, source, baseName, baseDigest}

// Claims is what an image says about itself.
type Claims struct {
	Version    string `json:"version"`
	Revision   string `json:"revision"`
	Source     string `json:"source"`
	BaseName   string `json:"baseName"`
	BaseDigest string `json:"baseDigest"`
	Created    string `json:"created"`
}

// Claims returns what the image says about itself: in the annotations of its root
// manifest, else in the annotations or labels of its first platform that says so.
func (i Image) Claims() Claims {
	places := []map[string]string{i.Annotations}
	var created time.Time
	for _, p := range i.Platforms {
		places = append(places, p.Annotations)
		if p.Config != nil {
			places = append(places, p.Config.Labels)
			if p.Config.Created.After(created) {
				created = p.Config.Created
			}
		}
	}
	claim := func(key string) string {
		for _, place := range places {
			if place[key] != "" {
				return cut(place[key])
			}
		}
		return ""
	}
	c := Claims{Version: claim(version), Revision: claim(revision), Source: claim(source), BaseName: claim(baseName), BaseDigest: claim(baseDigest)}
	if !created.IsZero() {
		c.Created = created.Format(time.RFC3339)
	}
	return c
}

// Bytes returns the size of the distinct layers of all platforms.
func (i Image) Bytes() int64 {
	sum := int64(0)
	for _, l := range i.layers() {
		sum += l
	}
	return sum
}

// layers returns the sizes of the distinct layers.
func (i Image) layers() map[string]int64 {
	sizes := map[string]int64{}
	for _, p := range i.Platforms {
		for _, l := range p.Layers {
			sizes[l.Digest] = l.Size
		}
	}
	return sizes
}

// Layers counts layers.
type Layers struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
}

func (l *Layers) add(size int64) {
	l.Count++
	l.Bytes += size
}

// Difference is how an image differs from another one.
type Difference struct {
	PlatformsAdded   []string  `json:"platformsAdded"`
	PlatformsRemoved []string  `json:"platformsRemoved"`
	LayersShared     Layers    `json:"layersShared"`
	LayersNew        Layers    `json:"layersNew"`
	LayersGone       Layers    `json:"layersGone"`
	Settings         []Setting `json:"settings"`
}

// Setting is a setting of the configuration that differs: a value, or a list of
// names. Platforms has the platforms on which it differs in this way, and is empty if
// those are all that both images have.
type Setting struct {
	Name      string   `json:"name"`
	Platforms []string `json:"platforms"`
	Old       string   `json:"old"`
	New       string   `json:"new"`
	Added     []string `json:"added"`
	Removed   []string `json:"removed"`
	// Changed has the names of environment variables with another value.
	Changed []string `json:"changed"`
}

func (s Setting) equal(other Setting) bool {
	return s.Name == other.Name && s.Old == other.Old && s.New == other.New &&
		slices.Equal(s.Added, other.Added) && slices.Equal(s.Removed, other.Removed) && slices.Equal(s.Changed, other.Changed)
}

// Compare returns how the second image differs from the first.
func Compare(before, after Image) Difference {
	d := Difference{PlatformsAdded: []string{}, PlatformsRemoved: []string{}, Settings: []Setting{}}
	old, layers := before.layers(), after.layers()
	for digest, size := range layers {
		if _, shared := old[digest]; shared {
			d.LayersShared.add(size)
		} else {
			d.LayersNew.add(size)
		}
	}
	for digest, size := range old {
		if _, shared := layers[digest]; !shared {
			d.LayersGone.add(size)
		}
	}
	common := 0
	for _, p := range after.Platforms {
		previous, ok := before.platform(p.Name)
		if !ok {
			d.PlatformsAdded = append(d.PlatformsAdded, p.Name)
			continue
		}
		common++
		if p.Config == nil || previous.Config == nil {
			continue
		}
		for _, s := range compareConfigs(previous.Config, p.Config) {
			at := slices.IndexFunc(d.Settings, s.equal)
			if at < 0 {
				at, d.Settings = len(d.Settings), append(d.Settings, s)
			}
			d.Settings[at].Platforms = append(d.Settings[at].Platforms, p.Name)
		}
	}
	for i := range d.Settings {
		if len(d.Settings[i].Platforms) == common {
			d.Settings[i].Platforms = []string{}
		}
	}
	sort.SliceStable(d.Settings, func(i, j int) bool {
		return slices.Index(settings, d.Settings[i].Name) < slices.Index(settings, d.Settings[j].Name)
	})
	for _, p := range before.Platforms {
		if _, ok := after.platform(p.Name); !ok {
			d.PlatformsRemoved = append(d.PlatformsRemoved, p.Name)
		}
	}
	return d
}

func (i Image) platform(name string) (Platform, bool) {
	at := slices.IndexFunc(i.Platforms, func(p Platform) bool { return p.Name == name })
	if at < 0 {
		return Platform{}, false
	}
	return i.Platforms[at], true
}

// settings has the names of the settings, in the order in which they are shown.
var settings = []string{"user", "entrypoint", "command", "working directory", "stop signal", "ports", "volumes", "environment"}

func compareConfigs(before, after *Config) []Setting {
	var found []Setting
	add := func(s *Setting) {
		if s.Old == s.New && len(s.Added)+len(s.Removed)+len(s.Changed) == 0 {
			return
		}
		for _, list := range []*[]string{&s.Platforms, &s.Added, &s.Removed, &s.Changed} {
			if *list == nil {
				*list = []string{}
			}
		}
		found = append(found, *s)
	}
	for _, value := range []struct{ name, old, new string }{
		{"user", before.User, after.User},
		{"entrypoint", before.Entrypoint, after.Entrypoint},
		{"command", before.Cmd, after.Cmd},
		{"working directory", before.WorkingDir, after.WorkingDir},
		{"stop signal", before.StopSignal, after.StopSignal},
	} {
		add(&Setting{Name: value.name, Old: value.old, New: value.new})
	}
	add(&Setting{Name: "ports", Added: without(after.Ports, before.Ports), Removed: without(before.Ports, after.Ports)})
	add(&Setting{Name: "volumes", Added: without(after.Volumes, before.Volumes), Removed: without(before.Volumes, after.Volumes)})
	environment := &Setting{Name: "environment"}
	for name, value := range after.Env {
		switch old, ok := before.Env[name]; {
		case !ok:
			environment.Added = append(environment.Added, name)
		case old != value:
			environment.Changed = append(environment.Changed, name)
		}
	}
	for name := range before.Env {
		if _, ok := after.Env[name]; !ok {
			environment.Removed = append(environment.Removed, name)
		}
	}
	slices.Sort(environment.Added)
	slices.Sort(environment.Removed)
	slices.Sort(environment.Changed)
	add(environment)
	return found
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}
