# Fits the models of models.R with lme4 (some also with nlme) and writes lme4.json; schema in README.md.
#
#     OPENBLAS_NUM_THREADS=1 Rscript tests/reference/make_reference.R [pattern of ids, for a trial run]
#
# Reads the data sets of sparselmm.datasets and data/*.csv.gz, which make_synthetic.R writes.
# Needs lme4, nlme, minqa, nloptr, numDeriv and jsonlite.

suppressPackageStartupMessages({
  library(lme4)
  library(Matrix)
})
options(contrasts = c("contr.treatment", "contr.treatment"), warn = 1)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
pattern <- c(commandArgs(TRUE), "")[1]

source(file.path(here, "models.R"))
sets <- jsonlite::fromJSON(file.path(here, "..", "..", "sparselmm", "datasets", "data", "datasets.json"),
                           simplifyDataFrame = FALSE)

read_set <- function(name) {
  synthetic <- startsWith(name, "synthetic:")
  folder <- if (synthetic) file.path(here, "data") else file.path(here, "..", "..", "sparselmm", "datasets", "data")
  file <- file.path(folder, paste0(sub("synthetic:", "", name), ".csv.gz"))
  frame <- read.csv(file, colClasses = "character", na.strings = "", check.names = FALSE)
  for (column in names(frame)) {
    entry <- sets[[name]]$columns[[column]]
    frame[[column]] <- if (is.null(entry$levels)) type.convert(frame[[column]], as.is = TRUE)
                       else factor(frame[[column]], entry$levels, ordered = entry$ordered)
    if (is.character(frame[[column]]))
      frame[[column]] <- factor(frame[[column]], sort(unique(frame[[column]]), method = "radix"))
  }
  frame
}

# One fit: the best of several searches, then Newton steps, then the exact boundary.

lower_index <- function(k) which(lower.tri(diag(k), diag = TRUE), arr.ind = TRUE)  # column after column

theta_table <- function(reTrms) {
  groups <- make.unique(names(reTrms$cnms))
  do.call(rbind, lapply(seq_along(groups), function(k) {
    columns <- reTrms$cnms[[k]]
    index <- lower_index(length(columns))
    data.frame(term = k, group = groups[k], row = columns[index[, 1]], column = columns[index[, 2]],
               i = index[, 1], j = index[, 2])
  }))
}

factor_of <- function(theta, table, k) {
  here <- table$term == k
  lambda <- matrix(0, max(table$i[here]), max(table$i[here]))
  lambda[cbind(table$i, table$j)[here, , drop = FALSE]] <- theta[here]
  lambda
}

canonical <- function(lambda) {  # lower factor of lambda lambda', non-negative diagonal, zero column at a zero pivot
  G <- tcrossprod(lambda)
  L <- 0 * G
  for (j in seq_len(nrow(G))) {
    pivot <- G[j, j] - sum(L[j, ]^2)
    if (pivot <= 1e-9 * G[j, j] || G[j, j] < 1e-10) next
    L[j, j] <- sqrt(pivot)
    for (i in seq_len(nrow(G))[-seq_len(j)]) L[i, j] <- (G[i, j] - sum(L[i, ] * L[j, ])) / L[j, j]
  }
  L
}

newton <- function(f, x, free) {
  step <- NA
  args <- list(d = 0.01, eps = 5e-3, zero.tol = 0.05)
  if (any(free)) for (iteration in 1:12) {
    part <- function(z) f(replace(x, free, z))
    g <- numDeriv::grad(part, x[free], method.args = args)
    e <- eigen(numDeriv::hessian(part, x[free], method.args = args), symmetric = TRUE)
    flat <- abs(e$values) < 1e-5 * max(abs(e$values))  # directions along which theta is not identified
    step <- -e$vectors %*% ifelse(flat, 0, crossprod(e$vectors, g) / abs(e$values))
    if (part(x[free] + step) > f(x) + 1e-10 * abs(f(x))) break
    x[free] <- x[free] + step
    if (max(abs(step)) < 1e-9) break
  }
  list(x = x, step = if (any(free)) max(abs(step)) else 0)
}

optimise <- function(devfun, table, scale, large) {
  f <- function(x) devfun(x / scale)  # x: theta in units of the columns of Z
  diagonal <- table$i == table$j
  lower <- ifelse(diagonal, 0, -Inf)
  starts <- list(1 * diagonal, ifelse(diagonal, 0.3, 0.05), ifelse(diagonal, 2, -0.2))
  set.seed(1, "Mersenne-Twister", "Inversion")  # more starts where there can be several optima
  if (length(scale) > 2) for (start in 1:8)
    starts <- c(starts, list(ifelse(diagonal, exp(rnorm(length(scale))), 0.7 * rnorm(length(scale)))))
  if (large) starts <- starts[1:2]
  tries <- do.call(c, lapply(starts, function(x) list(
    minqa::bobyqa(x, f, lower, control = list(rhobeg = 0.2, rhoend = 1e-9, maxfun = 20000,
                                              npt = 2 * length(x) + 1))$par,
    nloptr::nloptr(x, f, lb = lower, opts = list(algorithm = "NLOPT_LN_BOBYQA", xtol_abs = 1e-10, ftol_abs = 1e-12,
                                                 xtol_rel = 0, maxeval = 20000))$solution)))
  values <- vapply(tries, f, 0)
  polished <- newton(f, tries[[which.min(values)]], rep(TRUE, length(scale)))
  snapped <- polished$x  # exact zeros where the optimum is on the boundary, as long as the deviance agrees
  for (k in unique(table$term)) {
    here <- table$term == k
    snapped[here] <- canonical(factor_of(polished$x, table, k))[cbind(table$i, table$j)[here, , drop = FALSE]]
  }
  column_zero <- snapped[match(paste(table$term, table$j, table$j), paste(table$term, table$i, table$j))] == 0
  final <- newton(f, snapped, !column_zero)
  if (f(final$x) > min(values, f(polished$x)) + 1e-7) stop("the boundary costs deviance")
  for (k in unique(table$term)) {
    pivots <- diag(factor_of(final$x, table, k))
    if (any(head(pivots, -1) == 0) && any(pivots != 0)) stop("theta is not unique")
  }
  flip <- sign(final$x[match(paste(table$term, table$j, table$j), paste(table$term, table$i, table$j))])
  x <- final$x * ifelse(flip < 0, -1, 1)
  list(theta = x / scale, step = final$step, spread = max(values) - f(x), gain = min(values) - f(x))
}

fit_model <- function(spec) {
  frame <- read_set(spec$dataset)
  if (isTRUE(spec$drop)) frame <- frame[(seq_len(nrow(frame)) - 1) %% 7 != 3, ]
  frame <- as.data.frame(lapply(frame, function(x) if (is.factor(x)) droplevels(x) else x), check.names = FALSE)
  control <- lmerControl(check.nobs.vs.rankZ = "ignore", check.nobs.vs.nlev = "ignore", check.nobs.vs.nRE = "ignore",
                         check.rankX = "silent.drop.cols", check.scaleX = "ignore", calc.derivs = FALSE)
  call <- list(as.formula(spec$lme4), frame, REML = spec$reml, control = control, contrasts = spec$contrasts)
  if (!is.null(spec$weights)) call$weights <- frame[[spec$weights]]
  if (!is.null(spec$offset)) call$offset <- frame[[spec$offset]]
  parsed <- do.call(lFormula, call)
  devfun <- do.call(mkLmerDevfun, c(parsed, list(control = control)))
  table <- theta_table(parsed$reTrms)
  Zt <- parsed$reTrms$Zt
  scale <- mapply(function(k, i) {
    of_term <- seq(parsed$reTrms$Gp[k] + i, parsed$reTrms$Gp[k + 1], by = length(parsed$reTrms$cnms[[k]]))
    sqrt(sum(Zt[of_term, ]^2) / ncol(Zt))
  }, table$term, table$i)
  probes <- lapply(list(1 * (table$i == table$j), ifelse(table$i == table$j, 0.7, 0.1)),
                   function(x) list(theta = x / scale, deviance = devfun(x / scale)))
  best <- optimise(devfun, table, scale, large = nrow(frame) > 10000)
  value <- devfun(best$theta)
  fit <- mkMerMod(environment(devfun), list(par = best$theta, fval = value, conv = 0, message = "", feval = 0),
                  parsed$reTrms, parsed$fr, mc = quote(lmer()))
  call$control <- NULL
  default <- -2 * as.numeric(logLik(suppressMessages(suppressWarnings(do.call(lmer, call)))))
  list(fit = fit, table = table, best = best, probes = probes, X = parsed$X, default = default)
}

term_records <- function(fit, table) {
  cnms <- getME(fit, "cnms")
  Gp <- getME(fit, "Gp")
  flist <- getME(fit, "flist")
  Lambdat <- getME(fit, "Lambdat")
  b <- as.vector(getME(fit, "b"))
  lapply(seq_along(cnms), function(k) {
    of <- names(cnms)[k]
    levels <- levels(flist[[of]])
    width <- length(cnms[[k]])
    keep <- if (length(levels) > 100) 20 else length(levels)
    rows <- Gp[k] + seq_len(keep * width)
    solved <- solve(getME(fit, "L"), Lambdat[, rows, drop = FALSE], system = "A")
    sd <- sigma(fit) * sqrt(colSums(as.matrix(Lambdat[, rows, drop = FALSE]) * as.matrix(solved)))
    by_level <- function(x) matrix(x, keep, width, byrow = TRUE)
    if (sum(names(cnms) == of) == 1 && length(b) < 2000) {  # lme4's own answer, where it gives one per term
      other <- ranef(fit, condVar = TRUE)[[of]]
      stopifnot(all.equal(as.matrix(other)[seq_len(keep), , drop = FALSE], by_level(b[rows]), check.attributes = FALSE))
      variance <- apply(attr(other, "postVar"), 3, diag)
      stopifnot(all.equal(sqrt(as.vector(variance)[seq_along(rows)]), sd, tolerance = 1e-6))
    }
    list(name = unbox(unique(table$group)[k]), factors = strsplit(of, ":")[[1]], columns = cnms[[k]],
         n_levels = unbox(length(levels)), cov = sigma(fit)^2 * tcrossprod(factor_of(getME(fit, "theta"), table, k)),
         levels = levels[seq_len(keep)], ranef = by_level(b[rows]), cond_sd = by_level(sd))
  })
}

nlme_record <- function(spec) {
  frame <- read_set(spec$dataset)
  for (column in names(spec$nlme[[2]])) frame[[column]] <- factor(frame[[column]], ordered = FALSE)
  random <- spec$nlme[[2]]
  fit <- do.call(nlme::lme, list(as.formula(spec$nlme[[1]]), data = frame, random = random,
    method = if (spec$reml) "REML" else "ML",
    control = nlme::lmeControl(maxIter = 500, msMaxIter = 500, niterEM = 100, tolerance = 1e-10, msTol = 1e-12)))
  covariances <- lapply(fit$modelStruct$reStruct, function(pd) nlme::pdMatrix(pd) * fit$sigma^2)
  list(loglik = unbox(as.numeric(logLik(fit))), aic = unbox(AIC(fit)), bic = unbox(BIC(fit)),
       fixef = unname(nlme::fixef(fit)), se = unname(sqrt(diag(vcov(fit)))), sigma = unbox(fit$sigma),
       cov = lapply(covariances[names(random)], unname))
}

summary_of <- function(x) list(head = unname(head(x, 10)), sumsq = unbox(sum(x^2)))

record <- function(spec) {
  result <- fit_model(spec)
  fit <- result$fit
  table <- result$table
  V <- as.matrix(vcov(fit))
  diagonal <- result$best$theta[table$i == table$j]
  out <- list(
    id = unbox(spec$id), dataset = unbox(spec$dataset), lme4 = unbox(spec$lme4), formula = unbox(spec$formula),
    reml = unbox(spec$reml), weights = unbox(spec$weights), offset = unbox(spec$offset),
    drop_rows = if (isTRUE(spec$drop)) list(modulus = unbox(7L), remainder = unbox(3L)),
    contrasts = if (!is.null(spec$contrasts)) lapply(spec$contrasts, unbox), note = unbox(spec$note),
    deviance = unbox(-2 * as.numeric(logLik(fit))), loglik = unbox(as.numeric(logLik(fit))), aic = unbox(AIC(fit)),
    bic = unbox(BIC(fit)), df = unbox(attr(logLik(fit), "df")), nobs = unbox(nobs(fit)), sigma = unbox(sigma(fit)),
    singular = unbox(any(diagonal == 0)), lme4_singular = unbox(isSingular(fit)),
    fixef = list(names = names(fixef(fit)), values = unname(fixef(fit)), se = unname(sqrt(diag(V))),
                 vcov = if (ncol(V) <= 12) unname(V), dropped = as.character(names(attr(result$X, "col.dropped")))),
    theta = list(values = result$best$theta, group = table$group, row = table$row, column = table$column,
                 last_step = unbox(result$best$step), search_spread = unbox(max(0, result$best$spread)),
                 default_excess = unbox(result$default + 2 * as.numeric(logLik(fit)))),
    terms = term_records(fit, table),
    fitted = summary_of(fitted(fit)), resid = summary_of(residuals(fit)),
    probes = lapply(result$probes, function(p) list(theta = p$theta, deviance = unbox(p$deviance))),
    nlme = if (!is.null(spec$nlme)) nlme_record(spec))
  message(sprintf("%-32s %16.6f  step %.1e  polish %.1e  searches +%.1e  lmer's defaults +%.1e%s%s", spec$id,
                  out$deviance, result$best$step, result$best$gain, result$best$spread, out$theta$default_excess,
                  if (out$singular) "  singular" else "", if (out$lme4_singular) " (lme4: singular)" else ""))
  out
}

# JSON whose numbers read back to the same double (jsonlite stops at 15 digits).

unbox <- function(x) if (is.null(x)) NULL else structure(x, unboxed = TRUE)

json <- function(x) {
  if (is.null(x)) return("null")
  if (is.list(x)) {
    inner <- vapply(x, json, "")
    if (is.null(names(x))) return(paste0("[", paste(inner, collapse = ","), "]"))
    return(paste0("{", paste0(vapply(names(x), json_string, ""), ":", inner, collapse = ","), "}"))
  }
  if (is.matrix(x)) return(paste0("[", paste(apply(x, 1, function(row) json(as.vector(row))), collapse = ","), "]"))
  text <- if (is.character(x)) vapply(x, json_string, "") else if (is.logical(x)) tolower(x) else json_number(x)
  if (isTRUE(attr(x, "unboxed"))) text else paste0("[", paste(text, collapse = ","), "]")
}

json_string <- function(x) paste0("\"", gsub("([\"\\\\])", "\\\\\\1", x), "\"")

json_number <- function(x) {
  stopifnot(is.finite(x))
  vapply(as.numeric(x), function(v) {
    for (digits in 15:17) if (as.numeric(text <- sprintf("%.*g", digits, v)) == v) break
    text
  }, "")
}

selected <- models[grepl(pattern, names(models))]
provenance <- list(
  command = unbox("OPENBLAS_NUM_THREADS=1 Rscript tests/reference/make_reference.R"), date = unbox(format(Sys.Date())),
  r = unbox(R.version.string),
  packages = lapply(sapply(c("lme4", "Matrix", "nlme", "minqa", "nloptr", "numDeriv"),
                           function(p) as.character(packageVersion(p)), simplify = FALSE), unbox),
  blas = unbox(basename(dirname(extSoftVersion()[["BLAS"]]))), lapack = unbox(basename(La_library())),
  contrasts = unbox("contr.treatment for ordered and unordered factors unless a record says otherwise"))
lines <- vapply(selected, function(spec) json(record(spec)), "")
writeLines(c(paste0("{\"provenance\":", json(provenance), ",\"models\":["),
             paste0(lines, c(rep(",", length(lines) - 1), "")), "]}"),
           if (nzchar(pattern)) file.path(tempdir(), "lme4.json") else file.path(here, "lme4.json"))
