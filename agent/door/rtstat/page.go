package rtstat

import (
	"embed"
	"io/fs"
	"net/http"
)

// The page as it is served: it holds nothing of this terminal, so that it may
// be read without the token.
//
//go:embed web
var web embed.FS

// pages serves the files of the page.
func pages() http.Handler {
	root, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the directory is part of the program
	}
	files := http.FileServerFS(root)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	})
}
