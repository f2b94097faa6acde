package plan

import (
	"hash/fnv"
	"io"
)

// Slice is one of the parallel jobs that a set is cut over: the first has
// Position 1. The zero value, and one that makes no sense, is the whole set.
type Slice struct {
	Position, Total int
}

// Has reports whether a repository is this job's, by a hash of its name that is
// the same in every job.
func (s Slice) Has(repository string) bool {
	if s.Total < 2 || s.Position < 1 || s.Position > s.Total {
		return true
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, repository)
	return int(h.Sum64()%uint64(s.Total)) == s.Position-1
}
