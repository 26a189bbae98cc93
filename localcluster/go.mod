module github.com/holdfast-dev/holdfast/localcluster

go 1.26.0
