# The table of tests/records/test_sources_labelled.py as R keeps it: the labels are a factor. formats.csv was written by
#   by_hand(table(), labelled=True).to_csv("formats.csv", index=False)
formats <- read.csv("formats.csv", fileEncoding = "UTF-8", colClasses = c(ID = "character", SCHULE = "character", BORN = "Date"),
                    na.strings = "", stringsAsFactors = FALSE)
formats$BAND <- factor(formats$BAND, levels = c("niedrig", "mittel", "\u00fcbrig"))
save(formats, file = "formats.rda", compress = "xz")
saveRDS(formats, "formats.rds", compress = "bzip2")
