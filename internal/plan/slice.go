package plan

import (
	"hash/fnv"
	"io"
)

// Slice is the part of a set that one of several parallel jobs takes. Position
// is 1 for the first job. The zero value, like any invalid one, is the whole set.
type Slice struct {
	Position, Total int
}

// Has reports whether this job takes a repository. It depends on a hash of the
// name, which is the same in every job.
func (s Slice) Has(repository string) bool {
	if s.Total < 2 || s.Position < 1 || s.Position > s.Total {
		return true
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, repository)
	return int(h.Sum64()%uint64(s.Total)) == s.Position-1
}
