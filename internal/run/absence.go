package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"acrpromote/internal/defect"
	"acrpromote/internal/levenshtein"
	"acrpromote/internal/ref"
	"acrpromote/internal/session"
	"acrpromote/internal/transfer"
)

// Limits for finding out what of an image's name does not exist: images, names of
// one list, and time.
const (
	mostAbsent   = 5
	absentNames  = 1000
	absentWithin = 10 * time.Second
)

// explainAbsent makes the errors of images that do not exist say whether it is the
// repository or the tag that does not, and what is there under a name like it. It
// sends requests only in this case: a list of tags or of repositories for each image.
func (r *reader) explainAbsent(ctx context.Context, f *findings) {
	ctx, cancel := context.WithTimeout(ctx, absentWithin)
	defer cancel()
	var group sync.WaitGroup
	left := mostAbsent
	for i, wanted := range r.images {
		e, ok := errors.AsType[*transfer.Error](f.images[i].source.err)
		source := wanted.Source
		if !ok || e.Kind != transfer.NotFound || e.Registry != source.Registry || e.Repository != source.Repository || e.Reference != source.Tag+source.Digest || left == 0 {
			continue
		}
		at, err := r.s.Registry(source.Registry)
		if err != nil {
			continue
		}
		left--
		group.Go(func() {
			defer defect.Catch(ctx)
			absent := *e
			if reason, remedy := absence(ctx, at, source, e.Code); reason != "" {
				absent.Reason, absent.Remedy = "it does not exist: "+reason, remedy
				f.images[i].source.err = &absent
			}
		})
	}
	group.Wait()
}

// absence returns which part of an image's name does not exist, and the next step.
// Both are empty if that could not be found out.
func absence(ctx context.Context, at *session.Registry, source ref.Reference, code string) (reason, remedy string) {
	var tags []string
	err := error(transfer.NotFound)
	if code != "NAME_UNKNOWN" {
		tags, err = at.Data.Tags(ctx, source.Repository, absentNames)
		tags = slices.DeleteFunc(tags, func(tag string) bool { _, _, named := ref.ParseDigestTag(tag); return named })
	}
	switch {
	case errors.Is(err, transfer.NotFound):
		return absentRepository(ctx, at, source.Repository)
	case errors.Is(err, transfer.Denied):
		return "whether the repository or the tag is missing is unknown, because this identity may not list the tags of " + source.Repository,
			"Check the names of registry, repository and tag. Tags are case-sensitive."
	case err != nil && len(tags) == 0, slices.Contains(tags, source.Tag):
		// Nothing is known, or a replica lags behind.
		return "", ""
	case source.Tag == "":
		return fmt.Sprintf("the repository %s has no manifest with this digest", source.Repository),
			"Check the digest, and whether the image was deleted: the pipeline's build has the digest of what it pushed."
	case len(tags) == 0:
		return fmt.Sprintf("the repository %s has no tags", source.Repository), "Check the name of the repository, and whether the image was pushed."
	}
	reason = fmt.Sprintf("the repository %s has no tag %s", source.Repository, source.Tag)
	near, ok := levenshtein.Nearest(source.Tag, tags)
	switch {
	case strings.TrimRight(source.Tag, "._-") != source.Tag:
		remedy = fmt.Sprintf("The tag ends with %q: is a variable empty? ", source.Tag[len(source.Tag)-1:])
	case ok && strings.EqualFold(near, source.Tag):
		return reason, fmt.Sprintf("Did you mean %s? Tags are case-sensitive.", near)
	}
	if ok {
		return reason, remedy + fmt.Sprintf("Did you mean %s?", near)
	}
	return reason, remedy + fmt.Sprintf("The repository has %s.", some(tags, err != nil))
}

// absentRepository is absence where the repository is missing.
func absentRepository(ctx context.Context, at *session.Registry, repository string) (reason, remedy string) {
	reason = "the registry does not know this repository"
	names, err := at.Data.Repositories(ctx, absentNames)
	if near, ok := levenshtein.Nearest(repository, names); ok {
		return reason, fmt.Sprintf("Did you mean %s?", near)
	}
	remedy = "Check the names of registry and repository; repositories are written in lower case."
	if errors.Is(err, transfer.Denied) {
		remedy += " This identity may not list the repositories, so none is suggested."
	}
	return reason, remedy
}

// some returns a number of sorted tags and the last few of them, which are the newest
// if they are versions or dates. more says that there are others.
func some(tags []string, more bool) string {
	last := strings.Join(tags[max(0, len(tags)-3):], ", ")
	switch {
	case more:
		return fmt.Sprintf("more than %d tags, such as %s", len(tags), last)
	case len(tags) == 1:
		return "1 tag, " + last
	}
	return fmt.Sprintf("%d tags, such as %s", len(tags), last)
}
