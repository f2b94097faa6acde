// Package regularfile reads files of a bounded size, and replaces files.
package regularfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Read returns the content of a regular file of at most limit bytes. Like in an input,
// the path has slashes on every system.
func Read(path string, limit int64) ([]byte, error) {
	path = filepath.FromSlash(path)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a directory")
	case !info.Mode().IsRegular():
		// Opening or reading a pipe or a device may wait forever.
		return nil, errors.New("it is not a regular file")
	case info.Size() > limit:
		return nil, tooLarge(limit)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, tooLarge(limit)
	}
	return content, nil
}

// Replace writes a file that everyone may read. Another program sees its former content
// or the new one, never a part.
func Replace(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".acrpromote-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Chmod(file.Name(), 0o644)
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

func tooLarge(limit int64) error { return fmt.Errorf("it is larger than %d bytes", limit) }

// ErrorText returns the text of an error of Read, without the path and the name of the
// system call.
func ErrorText(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return fmt.Sprintf("it cannot be read: %v", path.Err)
	}
	return err.Error()
}
