// Package sorting sorts slices by a comparison. It does what slices.SortFunc and
// slices.SortStableFunc do, without a copy of the whole algorithm in the program for
// every type that is sorted: those took 12 kB each.
package sorting

import "sort"

// By sorts s by compare, which returns a negative number if a comes before b, and
// a positive one if it comes after. The order of equal elements may change.
func By[T any](s []T, compare func(a, b T) int) {
	sort.Sort(sortable[T]{s, compare})
}

// StableBy is By, but keeps the order of equal elements.
func StableBy[T any](s []T, compare func(a, b T) int) {
	sort.Stable(sortable[T]{s, compare})
}

type sortable[T any] struct {
	elements []T
	compare  func(a, b T) int
}

func (s sortable[T]) Len() int           { return len(s.elements) }
func (s sortable[T]) Less(i, j int) bool { return s.compare(s.elements[i], s.elements[j]) < 0 }
func (s sortable[T]) Swap(i, j int)      { s.elements[i], s.elements[j] = s.elements[j], s.elements[i] }
