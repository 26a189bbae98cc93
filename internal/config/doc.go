// Package config fills a command's flags from the environment and from a YAML file, and tells when
// that file changes.
//
// A flag is the one declaration of a setting: its name gives the environment variable
// (--data-dir, HOLDFAST_DATA_DIR) and the key in the file (data-dir: /data), its type parses all
// three, and its default holds where none is given. What is nearer to the person who starts the
// program wins: flag, then environment, then file, then default.
//
// The file is read strictly, because a mistyped key that is silently ignored is a setting that
// silently does not hold: unknown and repeated keys are errors with file and line.
//
// Watch follows the file the way Kubernetes changes a mounted one. The kubelet never writes the
// file: it writes a new folder beside it and swaps the symbolic link ..data, so the watch is on
// the folder, and content alone decides whether anything changed.
package config
