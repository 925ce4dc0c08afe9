"""One module a page, each with a function `page(thresholds) -> Page`; `dashboards.build` knows their order."""
